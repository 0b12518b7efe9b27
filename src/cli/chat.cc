#include "cli/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/caught_signals.h"
#include "cli/chat_command.h"
#include "cli/conversation.h"
#include "cli/input_history.h"
#include "cli/line_editor.h"
#include "cli/message_reader.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "data/countdown_question.h"
#include "data/task.h"
#include "reward/answer.h"

namespace r1 {
namespace {

// Writes a greeting or a remark: to stderr if stdout is not a terminal, because a file receives answers only.
void say(const std::string& text) {
  if (stdout_is_terminal()) {
    write_stdout(text);
  } else {
    write_stderr(text);
  }
}

// Breaks text at blanks into lines of at most 78 characters.
std::string wrapped(const std::string& text) {
  constexpr size_t kWidth = 78;
  std::string out;
  size_t column = 0;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto width =
        static_cast<size_t>(std::ranges::count_if(word, [](char c) { return (c & 0xC0) != 0x80; }));
    if (column > 0 && column + 1 + width > kWidth) {
      out += "\n";
      column = 0;
    }
    out += (column > 0 ? " " : "") + word;
    column += (column > 0 ? 1 : 0) + width;
  }
  return out;
}

// Returns a line that says whether a countdown answer is right, or "" for another question.
std::string judgement(const Tokenizer& tokenizer, const std::string& question,
                      std::span<const int32_t> tokens, const std::string& opening) {
  const auto problem = parse_question(question);
  if (!problem) return "";
  const Verdict verdict = verify_answer(tokenizer, countdown_task(*problem, 0), tokens, true, opening);
  if (verdict.correct) return "checked: right";
  std::string why = verdict.why;
  std::ranges::replace(why, '_', ' ');
  return "checked: not right (" + why + ")";
}

// Expands a leading ~/ as a shell does.
std::filesystem::path user_path(const std::string& name) {
  const char* home = std::getenv("HOME");
  if (name.starts_with("~/") && home != nullptr) return std::filesystem::path(home) / name.substr(2);
  return name;
}

class Chat {
 public:
  Chat(const SamplingModel& model, const ModelNotes& notes, Answerer& answerer, AnswerStyle style,
       const ChatOptions& options)
      : bundle_(model.tokenized()),
        notes_(notes),
        answerer_(answerer),
        style_(style),
        verbose_(options.verbose),
        next_seed_(options.seed),
        editor_(stdout_is_terminal() ? 1 : 2),
        turns_(options.turns       ? options.turns
               : notes.single_turn ? std::optional<int64_t>(0)
                                   : std::nullopt),
        conversation_(bundle_, turns_) {
    conversation_.set_system(options.system);
    if (options.keep_history) open_history();
  }

  void run() {
    greet();
    for (;;) {
      say("\n");
      const Message message = read_message(editor_);
      if (message.outcome == LineEditor::Outcome::interrupted) {
        CaughtSignals::forget(SIGINT);
        say("(Ctrl-D or /exit ends)\n");
        continue;
      }
      if (message.outcome != LineEditor::Outcome::line) return;
      if (trim(message.text).empty()) continue;
      keep(message.text);
      try {
        if (!obey(message)) return;
      } catch (const Error& e) {  // an error must not end the conversation
        write_stderr(std::string("r1: ") + e.what() + "\n");
      }
      if (seen_termination() != 0) return;
      CaughtSignals::forget(SIGINT);
    }
  }

 private:
  // The last question and its answer so far, for /more.
  struct Last {
    Question question;
    std::string text;             // as the user typed it
    std::vector<int32_t> tokens;  // of the answer so far
    std::string opening;          // the prompt's opening of a thought (text/think.h)
    bool is_cut = false;
  };

  void remark(const std::string& text) {
    if (!text.empty()) say(style_.dim(text) + "\n");
  }

  void open_history() {
    try {
      history_ = history_path();
      if (history_.empty()) return;
      for (const std::string& entry : load_history(history_)) editor_.add_history(entry);
    } catch (const Error& e) {
      lose_history(e);
    }
  }

  void keep(const std::string& text) {
    editor_.add_history(text);
    if (history_.empty()) return;
    try {
      append_history(history_, text);
    } catch (const Error& e) {
      lose_history(e);
    }
  }

  void lose_history(const Error& e) {
    write_stderr(fmt::format("r1: lines are not kept for the next conversation: {}\n", e.what()));
    history_.clear();
  }

  void greet() {
    std::string out = wrapped(printable(notes_.about));
    if (out.empty() && notes_.knows_only_countdown()) {
      out =
          "A small model that knows one game, countdown: join the given numbers by + - * / to reach a "
          "target.";
    }
    if (!out.empty()) out += "\n";
    if (bundle_.chat_template.empty()) {
      out +=
          "It has no chat template: it goes on with the text that you type, and every text stands alone.\n";
    } else if (turns_ == 0) {
      out += "Every question stands alone: the model does not see earlier ones.\n";
    }
    if (notes_.knows_only_countdown()) {
      out += fmt::format("Three problems to try, which it was not trained on:\n  {}\n", kExampleQuestion);
      constexpr uint64_t kSeed = 54;  // r1-nano solves its first two problems with all of 20 seeds
      for (uint64_t i = 0; i < 2; ++i)
        out += "  " + make_problem("countdown3", kSeed, i, Split::held_out).question + "\n";
    }
    say(out + style_.dim("/help lists the commands; Ctrl-C stops an answer; Ctrl-D ends.") + "\n");
  }

  // Returns false if the conversation is over.
  bool obey(const Message& message) {
    const ChatCommand command =
        message.is_block ? ChatCommand{.kind = ChatCommand::Kind::question, .argument = message.text}
                         : read_chat_command(message.text);
    switch (command.kind) {
      case ChatCommand::Kind::question:
        ask(std::string(trim(command.argument)));
        break;
      case ChatCommand::Kind::help:
        say(chat_help());
        break;
      case ChatCommand::Kind::clear:
        conversation_.clear();
        last_.reset();
        left_out_ = 0;
        remark("the conversation is forgotten");
        break;
      case ChatCommand::Kind::system:
        set_system(command.argument);
        break;
      case ChatCommand::Kind::seed:
        set_seed(command.argument);
        break;
      case ChatCommand::Kind::save:
        save(command.argument);
        break;
      case ChatCommand::Kind::more:
        more();
        break;
      case ChatCommand::Kind::exit:
        return false;
    }
    return true;
  }

  void ask(const std::string& text) {
    const ConversationPrompt prompt = conversation_.prompt(text, answerer_.room());
    Last next{.question = {.prompt = prompt.tokens,
                           .seed = next_seed_,
                           .drawn = prompt.drawn,
                           .what = "the question"},
              .text = text,
              .tokens = {},
              .opening = prompt.opening};
    check_prompt(bundle_.model, prompt.tokens, "the question");
    if (prompt.left_out > left_out_) {
      remark(fmt::format(
          "the conversation has outgrown the model's context of {} tokens: its first {} turn{} "
          "no longer shown to the model; /clear starts afresh",
          bundle_.model.config().max_positions, prompt.left_out, prompt.left_out == 1 ? " is" : "s are"));
    }
    left_out_ = prompt.left_out;
    remark(wrong_question_note(notes_, text));
    ++next_seed_;
    conversation_.add(text, "", prompt.opening);
    last_ = std::move(next);
    try {
      answer();
    } catch (const Error&) {  // a question without an answer is not kept as a turn
      conversation_.drop_last();
      last_.reset();
      throw;
    }
  }

  void more() {
    if (!last_ || !last_->is_cut) throw Error("no answer was cut, so there is nothing to go on with");
    answer();
  }

  // Generates the last question's answer, or continues it.
  void answer() {
    Question question = last_->question;
    question.prompt.insert(question.prompt.end(), last_->tokens.begin(), last_->tokens.end());
    question.drawn += std::ssize(last_->tokens);
    const bool opened = !last_->opening.empty();
    const ThinkSplit before = split_think(response_text(bundle_.tokenizer, last_->tokens), opened);
    const bool in_thought = last_->tokens.empty() ? opened : before.has_thought && !before.closed;
    AnswerPrinter printer(bundle_.tokenizer, style_, in_thought);
    const Answer answer = answerer_.answer(question, [&](int32_t token) { printer.feed(token); });
    printer.finish();
    last_->tokens.insert(last_->tokens.end(), answer.tokens.begin(), answer.tokens.end());
    last_->is_cut = answer.stopped || answer.finish == FinishReason::length;
    conversation_.replace_last_response(response_text(bundle_.tokenizer, last_->tokens),
                                        std::ssize(last_->tokens));
    const std::string cut = cut_note(answer, bundle_.model, true);
    remark(cut.empty() ? judgement(bundle_.tokenizer, last_->text, last_->tokens, last_->opening) : cut);
    if (verbose_) remark(speed_note(answer, question.seed));
  }

  void set_system(const std::string& argument) {
    if (argument.empty()) {
      say(conversation_.system().empty() ? "there is no system prompt\n"
                                         : printable(conversation_.system()) + "\n");
      return;
    }
    conversation_.set_system(argument == "\"\"" ? "" : argument);
    remark(conversation_.system().empty() ? "there is no system prompt now" : "the system prompt is set");
  }

  void set_seed(const std::string& argument) {
    if (argument.empty()) {
      say(last_ ? fmt::format("the last answer has seed {}; the next has seed {}\n", last_->question.seed,
                              next_seed_)
                : fmt::format("the next answer has seed {}\n", next_seed_));
      return;
    }
    uint64_t seed = 0;
    const auto [end, problem] = std::from_chars(argument.data(), argument.data() + argument.size(), seed);
    if (problem != std::errc() || end != argument.data() + argument.size())
      throw Error(
          fmt::format("/seed {}: a seed is an integer from 0 to {}", printable(argument), UINT64_MAX));
    next_seed_ = seed;
    remark(fmt::format("the next answer has seed {}", seed));
  }

  void save(const std::string& argument) {
    const bool replace = argument.starts_with("-f ");
    const std::string name(trim(replace ? std::string_view(argument).substr(3) : std::string_view(argument)));
    if (name.empty()) throw Error("/save needs the name of a file");
    if (conversation_.empty()) throw Error("nothing was said yet, so there is nothing to save");
    const std::filesystem::path path = user_path(name);
    std::error_code none;
    if (!replace && std::filesystem::exists(path, none))
      throw Error(fmt::format("{}: exists already; /save -f {} replaces it", path.string(), name));
    write_file_atomically(path, Json::object().set("messages", conversation_.messages()).dump() + "\n");
    remark(fmt::format("saved: {}", path.string()));
  }

  const ModelBundle& bundle_;
  const ModelNotes& notes_;
  Answerer& answerer_;
  AnswerStyle style_;
  bool verbose_;
  uint64_t next_seed_;
  LineEditor editor_;
  std::optional<int64_t> turns_;
  Conversation conversation_;
  std::filesystem::path history_;  // empty if lines are not kept
  std::optional<Last> last_;
  int64_t left_out_ = 0;  // the number of oldest turns that did not fit into the last prompt
};

}  // namespace

std::string wrong_question_note(const ModelNotes& notes, const std::string& question) {
  if (!notes.knows_only_countdown() || parse_question(question)) return "";
  return fmt::format(
      "this model knows only the countdown game, so what it says to this means nothing; ask for example: {}",
      kExampleQuestion);
}

void chat(const SamplingModel& model, const ModelNotes& notes, Answerer& answerer, AnswerStyle style,
          const ChatOptions& options) {
  Chat(model, notes, answerer, style, options).run();
}

}  // namespace r1
