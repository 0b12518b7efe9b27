#include "cli/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "cli/output.h"
#include "data/countdown_question.h"
#include "data/task.h"
#include "reward/answer.h"

namespace r1 {
namespace {

// Set by Ctrl-C; the only state a signal handler may touch.
volatile std::sig_atomic_t interrupted = 0;

void listen_for_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: a read at the prompt ends, too
}

// A line of standard input without its newline; nothing at the end of input.
std::optional<std::string> read_line() {
  constexpr size_t kLongest = size_t{1} << 20;
  std::string line;
  char c = 0;
  interrupted = 0;  // from here on, so that a Ctrl-C while a question is being prepared is not lost
  while (line.size() < kLongest) {
    const ssize_t n = ::read(0, &c, 1);
    if (n < 0 && errno == EINTR) {
      line.clear();
      write_stdout("\n(an empty line or Ctrl-D ends)\n> ");
      interrupted = 0;
      continue;
    }
    if (n <= 0) return line.empty() ? std::nullopt : std::optional(line);
    if (c == '\n') break;
    line += c;
  }
  return line;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

void greet(const SamplingModel& model, bool terminal) {
  const std::filesystem::path readme = model.directory / "README.md";
  std::string about = std::filesystem::exists(readme) ? first_paragraph(read_file(readme)) : "";
  std::string lower = about + model.directory.string();
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool knows_countdown =
      lower.find("countdown") != std::string::npos || lower.find("r1-nano") != std::string::npos;
  if (about.empty() && knows_countdown) {
    about =
        "A small model that knows one game, countdown: join the given numbers by + - * / to reach a target.";
  } else if (about.empty()) {
    about = "Every line is a question of its own.";
  }
  std::string out = about + "\n";
  if (knows_countdown) {
    out += "Three problems to try:\n";
    constexpr uint64_t kSeed = 2026;  // any: held-out problems that look different from each other
    for (uint64_t i = 0; i < 3; ++i)
      out += "  " + make_problem("countdown3", kSeed, i, Split::held_out).question + "\n";
  }
  const std::string how = "Ctrl-C stops an answer; an empty line or Ctrl-D ends.";
  write_stdout(out + (terminal ? kDim + how + kPlain : how) + "\n");
}

// One dim line on whether a countdown answer is right; "" for other questions.
std::string judgement(const Tokenizer& tokenizer, const std::string& question, const Completion& completion) {
  const auto problem = parse_question(question);
  if (!problem) return "";
  const Verdict verdict = verify_answer(tokenizer, countdown_task(*problem, 0), completion.tokens,
                                        completion.finish == FinishReason::stop);
  if (verdict.correct) return "checked: right";
  std::string why = verdict.why;
  std::ranges::replace(why, '_', ' ');
  return "checked: not right (" + why + ")";
}

}  // namespace

std::string first_paragraph(const std::string& markdown) {
  std::istringstream in(markdown);
  std::string line, paragraph;
  bool front_matter = false, first = true;
  while (std::getline(in, line)) {
    line = trimmed(line);
    const bool fence = line == "---" && (first || front_matter);
    first = false;
    if (fence) {
      front_matter = !front_matter;
      continue;
    }
    if (front_matter || line.starts_with("#") || line.starts_with("<")) continue;
    if (line.empty() && !paragraph.empty()) break;
    if (!line.empty()) paragraph += (paragraph.empty() ? "" : " ") + line;
  }
  return paragraph;
}

int chat(const SamplingModel& model, Runtime& runtime, const SamplingFlags& flags, AnswerStyle style) {
  const ModelBundle& bundle = model.tokenized();
  const Request base = base_request(flags, model.sampling, model.stop_tokens, model.max_tokens);
  Engine engine(bundle.model, runtime.ctx,
                {.max_batch = 1, .prefill_chunk = 2048, .kv_bytes = runtime.kv_bytes()});
  greet(model, style.terminal);
  listen_for_interrupts();
  for (uint32_t turn = 0;; ++turn) {
    write_stdout("\n> ");
    const auto line = read_line();
    if (!line || trimmed(*line).empty()) break;
    const std::string question = trimmed(*line);
    try {
      Request request = base;
      request.prompt = bundle.chat_prompt(question);
      request.key.prompt = turn;
      request.detect_loops = !flags.ignore_eos;
      check_prompt(bundle.model, request.prompt, "the question");
      AnswerPrinter printer(bundle.tokenizer, style, opens_thought(bundle.tokenizer, request.prompt));
      const auto completions = engine.run(std::span(&request, 1), [&](int64_t, int64_t, int32_t token) {
        printer.feed(token);
        return interrupted == 0;
      });
      printer.finish();
      std::string remark =
          interrupted != 0 ? "stopped" : judgement(bundle.tokenizer, question, completions.front());
      if (!remark.empty()) write_stdout(style.terminal ? kDim + remark + kPlain + "\n" : remark + "\n");
    } catch (const Error& e) {
      // A question that cannot be asked is no reason to lose the conversation; a broken standard output is.
      write_stderr(std::string("r1: ") + e.what() + "\n");
      write_stdout("");
    }
    interrupted = 0;
  }
  return 0;
}

}  // namespace r1
