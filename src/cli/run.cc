// cli/run.cc: `r1 run`: one prompt, prompts from a pipe, or a conversation.
#include <fmt/format.h>

#include <iostream>

#include "base/error.h"
#include "cli/answer_printer.h"
#include "cli/chat.h"
#include "cli/common.h"
#include "cli/output.h"

namespace r1 {
namespace {

Json to_json(const SamplingModel& model, const Completion& completion) {
  Json out = Json::object();
  out.set("tokens", Json::array_of(completion.tokens)).set("text", model.text_of(completion.tokens));
  out.set("finish_reason", name_of(completion.finish));
  return out;
}

// FILE.json: [ids], or {"tokens": [ids]}.
std::vector<int32_t> read_prompt_tokens(const std::string& path) {
  const Json json = read_json(input_path(path));
  return read_token_ids(json.is_object() ? json.at("tokens") : json);
}

class Runner {
 public:
  Runner(const RunOptions& options, const SamplingModel& model)
      : options_(options),
        model_(model),
        runtime_(options.common, model.model(), model.numerics),
        base_(base_request(options.sampling, model.sampling, model.stop_tokens, model.max_tokens)),
        style_{.terminal = stdout_is_terminal(), .hide_thinking = options.hide_thinking},
        engine_(model.model(), runtime_.ctx,
                {.max_batch = 1, .prefill_chunk = 2048, .kv_bytes = runtime_.kv_bytes()}) {}

  void answer_tokens(std::vector<int32_t> prompt) {
    Request request = base_;
    request.prompt = std::move(prompt);
    if (model_.bundle) request.opening = thought_opening(model_.bundle->tokenizer.decode(request.prompt));
    answer(request, options_.prompt_tokens);
  }

  void answer_text(const std::string& prompt, uint32_t index, const std::string& what) {
    Request request = base_;
    ChatPrompt chat = model_.tokenized().chat_prompt(prompt);
    request.prompt = std::move(chat.tokens);
    request.opening = std::move(chat.opening);
    request.key.prompt = index;
    request.detect_loops = !options_.sampling.ignore_eos;
    answer(request, what);
  }

  // Every line is a prompt; one that cannot be asked is reported, the rest go on.
  int answer_lines() {
    int status = 0;
    std::string line;
    uint32_t index = 0;
    for (int64_t number = 1; std::getline(std::cin, line); ++number) {
      if (line.ends_with('\r')) line.pop_back();
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      const std::string what = fmt::format("standard input:{}", number);
      try {
        check_prompt(model_.model(), model_.tokenized().chat_prompt(line).tokens, what);
      } catch (const Error& e) {
        write_stderr(fmt::format("r1: {}\n", e.what()));
        status = 2;
        ++index;
        continue;
      }
      answer_text(line, index++, what);
    }
    return status;
  }

  int talk() { return chat(model_, runtime_, options_.sampling, style_); }

 private:
  void answer(const Request& request, const std::string& what) {
    check_prompt(model_.model(), request.prompt, what);
    const bool live = !options_.common.json && model_.bundle.has_value();
    std::optional<AnswerPrinter> printer;
    if (live) printer.emplace(model_.bundle->tokenizer, style_, !request.opening.empty());
    const auto completions = engine_.run(std::span(&request, 1), [&](int64_t, int64_t, int32_t token) {
      if (printer) printer->feed(token);
      return true;
    });
    if (printer) {
      printer->finish();
    } else {
      write_stdout(to_json(model_, completions.front()).dump() + "\n");
    }
  }

  const RunOptions& options_;
  const SamplingModel& model_;
  Runtime runtime_;
  Request base_;
  AnswerStyle style_;
  Engine engine_;
};

}  // namespace

int run_run(const RunOptions& options) {
  check_common(options.common);
  if (options.prompt && !options.prompt_tokens.empty())
    throw Error("give either -p or --prompt-tokens, not both");
  const SamplingModel model = SamplingModel::load(options.common, resolve_model(options.model));
  Runner runner(options, model);
  if (!options.prompt_tokens.empty()) {
    runner.answer_tokens(read_prompt_tokens(options.prompt_tokens));
    return 0;
  }
  model.tokenized();
  if (options.prompt) {
    runner.answer_text(*options.prompt, 0, "the prompt");
    return 0;
  }
  if (stdin_is_terminal() && !options.common.json) return runner.talk();
  return runner.answer_lines();
}

}  // namespace r1
