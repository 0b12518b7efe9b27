#include "cli/chat.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <sstream>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/output.h"
#include "data/countdown_question.h"
#include "data/task.h"
#include "reward/answer.h"

namespace r1 {
namespace {

// Ctrl-C sets a flag, for the answer that is being made, and writes to a pipe, for the prompt: a flag alone
// could be set between its last look and the read that waits for a line, and a signal may arrive at any
// thread.
volatile std::sig_atomic_t interrupted = 0;
int wake_pipe[2] = {-1, -1};  // read, write

void listen_for_interrupts() {
  if (::pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Error(fmt::format("no pipe can be made: {}", std::strerror(errno)));
  struct sigaction action {};
  action.sa_handler = [](int) {
    const int before = errno;
    interrupted = 1;
    [[maybe_unused]] const ssize_t full_is_fine = ::write(wake_pipe[1], "", 1);
    errno = before;
  };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
}

void forget_interrupts() {
  interrupted = 0;
  char dropped[64];
  while (::read(wake_pipe[0], dropped, sizeof dropped) > 0) {
  }
}

// A line of standard input without its newline; nothing at the end of input.
std::optional<std::string> read_line() {
  constexpr size_t kLongest = size_t{1} << 20;
  std::string line;
  while (line.size() < kLongest) {
    pollfd files[2] = {{.fd = 0, .events = POLLIN, .revents = 0},
                       {.fd = wake_pipe[0], .events = POLLIN, .revents = 0}};
    if (::poll(files, 2, -1) < 0) continue;  // a signal: the pipe is next
    if (files[1].revents != 0) {
      forget_interrupts();
      line.clear();
      write_stdout("\n(an empty line or Ctrl-D ends)\n> ");
      continue;
    }
    char c = 0;
    if (::read(0, &c, 1) <= 0) return line.empty() ? std::nullopt : std::optional(line);
    if (c == '\n') break;
    line += c;
  }
  return line;
}

void greet(const SamplingModel& model, bool terminal) {
  const std::filesystem::path readme = model.directory / "README.md";
  std::string about = std::filesystem::exists(readme) ? first_paragraph(read_file(readme)) : "";
  std::string lower = about + model.directory.string();
  std::ranges::transform(lower, lower.begin(), to_lower);
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
std::string judgement(const Tokenizer& tokenizer, const std::string& question, const Request& request,
                      const Completion& completion) {
  const auto problem = parse_question(question);
  if (!problem) return "";
  const Verdict verdict = verify_answer(tokenizer, countdown_task(*problem, 0), completion.tokens,
                                        completion.finish == FinishReason::stop, request.opening);
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
    line = std::string(trim(line));
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
    if (!line || trim(*line).empty()) break;
    const std::string question(trim(*line));
    try {
      Request request = base;
      ChatPrompt prompt = bundle.chat_prompt(question);
      request.prompt = std::move(prompt.tokens);
      request.opening = std::move(prompt.opening);
      request.key.prompt = turn;
      request.detect_loops = !flags.ignore_eos;
      check_prompt(bundle.model, request.prompt, "the question");
      AnswerPrinter printer(bundle.tokenizer, style, !request.opening.empty());
      const auto completions = engine.run(std::span(&request, 1), [&](int64_t, int64_t, int32_t token) {
        printer.feed(token);
        return interrupted == 0;
      });
      printer.finish();
      std::string remark =
          interrupted != 0 ? "stopped" : judgement(bundle.tokenizer, question, request, completions.front());
      if (!remark.empty()) write_stdout(style.terminal ? kDim + remark + kPlain + "\n" : remark + "\n");
    } catch (const Error& e) {
      // A question that cannot be asked is no reason to lose the conversation; a broken standard output is.
      write_stderr(std::string("r1: ") + e.what() + "\n");
      write_stdout("");
    }
    forget_interrupts();
  }
  return 0;
}

}  // namespace r1
