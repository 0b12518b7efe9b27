// cli/run.cc: `r1 run`: answers one prompt (-p, a file, standard input, token ids), or holds a conversation
// on a terminal.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/answer_printer.h"
#include "cli/answerer.h"
#include "cli/caught_signals.h"
#include "cli/chat.h"
#include "cli/common.h"
#include "cli/constraints.h"
#include "cli/conversation.h"
#include "cli/model_notes.h"
#include "cli/output.h"
#include "cli/pull.h"
#include "reward/answer.h"
#include "text/think.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// Reads a JSON file: [ids] or {"tokens": [ids]}.
std::vector<int32_t> read_prompt_tokens(const std::string& path) {
  const Json json = read_json(input_path(path));
  return read_token_ids(json.is_object() ? json.at("tokens") : json);
}

std::string read_standard_input() {
  constexpr size_t kMost = size_t{64} << 20;  // longer than any model's context
  std::string text;
  std::vector<char> buffer(size_t{1} << 16);
  for (;;) {
    const ssize_t n = ::read(0, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("standard input: reading failed: {}", std::strerror(errno)));
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
    if (text.size() > kMost) throw Error(fmt::format("standard input: is longer than {} MiB", kMost >> 20));
  }
}

void check_utf8(std::string_view text, const std::string& what) {
  if (is_valid_utf8(text)) return;
  size_t at = 0;
  while (decode_utf8(text, at).valid) at += static_cast<size_t>(decode_utf8(text, at).size);
  throw Error(fmt::format("{}: byte {} is not UTF-8", what, at));
}

// Reads a file or standard input as one prompt, without the line ends at its end.
std::string read_text(const std::string& path) {
  std::string text = path == "-" ? read_standard_input() : read_file(path);
  const std::string what = path == "-" ? "standard input" : path;
  check_utf8(text, what);
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  if (trim(text).empty()) throw Error(what + ": is empty, so there is no prompt");
  return text;
}

// With -p, standard input is not read, because a shell's loop may be reading it. A pipe that holds text was
// probably meant as input, so a note is written.
void note_unread_input() {
  struct stat input {};
  int waiting = 0;
  if (::fstat(0, &input) != 0 || !S_ISFIFO(input.st_mode)) return;
  if (::ioctl(0, FIONREAD, &waiting) == 0 && waiting > 0)
    write_stderr(
        "r1: standard input was not read, because -p is given; --file - puts it behind the prompt\n");
}

struct Prompt {
  std::vector<int32_t> tokens;
  std::string opening;  // the prompt's opening of a thought (text/think.h)
  bool detect_loops = false;
  std::string what;
};

class OnePrompt {
 public:
  OnePrompt(const RunOptions& options, const SamplingModel& model, uint64_t seed, double load_s)
      : options_(options),
        model_(model),
        seed_(seed),
        load_s_(load_s),
        constraints_(model),
        constraint_(constraints_.of_flags(options.grammar)),
        answerer_(options.common, options.sampling, model) {}

  void run(const Prompt& prompt) {
    Question question{.prompt = prompt.tokens,
                      .seed = seed_,
                      .detect_loops = prompt.detect_loops,
                      .what = prompt.what,
                      .constraint = constraint_};
    if (constraint_) question.constraint->begin = constraints_.begin_after(prompt.tokens);
    if (options_.common.json || !model_.bundle) {
      const Answer answer = answerer_.answer(question, {});
      write_stdout(to_json(answer, !prompt.opening.empty()).dump() + "\n");
      if (options_.verbose) write_stderr(speed_note(answer, seed_) + "\n");
      return;
    }
    const AnswerStyle style = AnswerStyle::of_stdout(options_.hide_thinking);
    std::optional<CaughtSignals> caught;  // for the clean-up: a terminal must not stay dim
    if (style.terminal) caught.emplace(std::initializer_list<int>{SIGINT, SIGTERM, SIGHUP});
    AnswerPrinter printer(model_.bundle->tokenizer, style, !prompt.opening.empty());
    const Answer answer = answerer_.answer(question, [&](int32_t token) { printer.feed(token); });
    printer.finish();
    if (caught && answer.stopped) end_by_signal(seen_termination() != 0 ? seen_termination() : SIGINT);
    const std::string cut = cut_note(answer, model_.model(), false);
    if (!cut.empty()) write_stderr("r1: " + cut + "\n");
    if (!answer.complete) write_stderr("r1: the answer is not complete: its grammar wants more text\n");
    if (options_.verbose) write_stderr(speed_note(answer, seed_) + "\n");
  }

 private:
  Json to_json(const Answer& answer, bool opens_thought) const {
    const std::string text = model_.text_of(answer.tokens);
    const ThinkSplit split = split_think(text, opens_thought);
    const auto made = static_cast<int64_t>(answer.tokens.size());
    Json usage = Json::object();
    usage.set("prompt_tokens", answer.prompt_tokens).set("completion_tokens", made);
    usage.set("total_tokens", answer.prompt_tokens + made);
    if (model_.bundle)
      usage.set("reasoning_tokens", thinking_tokens(model_.bundle->tokenizer, answer.tokens, opens_thought));
    Json timings = Json::object();
    timings.set("load_s", load_s_).set("prompt_s", answer.prompt_s).set("generation_s", answer.generation_s);
    Json out = Json::object();
    out.set("tokens", Json::array_of(answer.tokens))
        .set("text", options_.hide_thinking ? split.answer : text);
    out.set("finish_reason", name_of(answer.finish)).set("content", split.answer);
    if (constraint_) out.set("complete", answer.complete);
    if (!options_.hide_thinking) out.set("reasoning", split.has_thought ? Json(split.thought) : Json());
    out.set("seed", seed_).set("usage", std::move(usage)).set("timings", std::move(timings));
    return out;
  }

  const RunOptions& options_;
  const SamplingModel& model_;
  uint64_t seed_;
  double load_s_;
  Constraints constraints_;
  std::optional<Constraint> constraint_;
  Answerer answerer_;
};

void check_options(const RunOptions& options) {
  check_common(options.common);
  const bool has_text = options.prompt || !options.file.empty();
  if (!options.prompt_tokens.empty() && has_text)
    throw Error("give either --prompt-tokens or a prompt (-p, --file), not both");
  if (!options.prompt_tokens.empty() && !options.system.empty())
    throw Error("--system: token ids are used as they are: put the system prompt into --prompt-tokens");
  if (options.turns && *options.turns < 0)
    throw Error(fmt::format("--turns is {}; it must be at least 0", *options.turns));
  if (options.prompt) check_utf8(*options.prompt, "the prompt");
  if (options.prompt && trim(*options.prompt).empty()) throw Error("-p: the prompt is empty");
  check_utf8(options.system, "--system");
}

// Returns the text of the only prompt, or nothing if a conversation is to be held.
std::optional<std::string> prompt_text(const RunOptions& options) {
  if (!options.file.empty()) {
    const std::string text = read_text(options.file);
    return options.prompt ? *options.prompt + "\n\n" + text : text;
  }
  if (options.prompt) return options.prompt;
  if (stdin_is_terminal() && !options.common.json) return std::nullopt;
  return read_text("-");
}

std::string name_of_prompt(const RunOptions& options) {
  if (options.file.empty()) return options.prompt ? "the prompt" : "standard input";
  return options.file == "-" ? "standard input" : options.file;
}

void check_conversation(const RunOptions& options, bool is_conversation) {
  if (!is_conversation && options.turns)
    throw Error("--turns is for a conversation: there are no earlier turns of one prompt");
  if (!is_conversation && options.no_history)
    throw Error("--no-history is for a conversation: one prompt is not kept");
  if (is_conversation && options.grammar.given() > 0)
    throw Error("--grammar, --json-schema and --regex are for one prompt: give it with -p or --file");
}

void answer_text(const RunOptions& options, const SamplingModel& model, uint64_t seed, double load_s,
                 const std::string& text) {
  OnePrompt one(options, model, seed, load_s);
  Conversation conversation(model.tokenized(), 0);
  conversation.set_system(options.system);
  const ConversationPrompt prompt = conversation.prompt(text, 0);
  const std::string note = wrong_question_note(read_model_notes(model.directory), text);
  if (!note.empty() && !options.common.json) write_stderr("r1: " + note + "\n");
  one.run({.tokens = prompt.tokens,
           .opening = prompt.opening,
           .detect_loops = true,
           .what = name_of_prompt(options)});
  if (options.prompt && options.file.empty()) note_unread_input();
}

void talk(const RunOptions& options, const SamplingModel& model, uint64_t seed) {
  model.tokenized();
  Answerer answerer(options.common, options.sampling, model);
  {
    const CaughtSignals caught({SIGINT, SIGTERM, SIGHUP});
    chat(model, read_model_notes(model.directory), answerer, AnswerStyle::of_stdout(options.hide_thinking),
         {.system = options.system,
          .turns = options.turns,
          .seed = seed,
          .verbose = options.verbose,
          .keep_history = !options.no_history});
  }
  if (seen_termination() != 0) end_by_signal(seen_termination());
}

}  // namespace

int run_run(const RunOptions& options) {
  check_options(options);
  const std::filesystem::path directory = resolve_or_pull(options.model);
  const bool has_tokens = !options.prompt_tokens.empty();
  const std::optional<std::string> text = has_tokens ? std::nullopt : prompt_text(options);
  check_conversation(options, !has_tokens && !text);
  const auto begin = std::chrono::steady_clock::now();
  const SamplingModel model = SamplingModel::load_guessing(options.common, directory);
  const double load_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const uint64_t seed = options.seed ? *options.seed : std::random_device{}();
  if (has_tokens) {
    Prompt prompt{
        .tokens = read_prompt_tokens(options.prompt_tokens), .opening = "", .what = options.prompt_tokens};
    if (model.bundle) prompt.opening = thought_opening(model.bundle->tokenizer.decode(prompt.tokens));
    OnePrompt(options, model, seed, load_s).run(prompt);
    return 0;
  }
  if (text) {
    answer_text(options, model, seed, load_s, *text);
  } else {
    talk(options, model, seed);
  }
  return 0;
}

}  // namespace r1
