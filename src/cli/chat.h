// cli/chat.h: the conversation of `r1 run` on a terminal.
#pragma once

#include "cli/answer_printer.h"
#include "cli/answerer.h"
#include "cli/model_notes.h"

namespace r1 {

struct ChatOptions {
  std::string system;            // "": none
  std::optional<int64_t> turns;  // earlier turns that the model is shown; unset: as the model's notes say
  uint64_t seed = 0;             // seed of the first answer; the next has seed + 1, and so on
  bool verbose = false;
  bool keep_history = true;
};

// Asks and answers until /exit, the end of input, or SIGTERM or SIGHUP (see seen_termination). Ctrl-C ends an
// answer, not the program. Greeting and remarks go to standard output if it is a terminal, else to standard
// error.
void chat(const SamplingModel& model, const ModelNotes& notes, Answerer& answerer, AnswerStyle style,
          const ChatOptions& options);

// A question that the shipped countdown models answer well. It is not a problem of their training.
inline constexpr const char* kExampleQuestion = "Make 24 from 12, 11 and 47.";

// Returns one line if the question is not of the kind that the model knows; else "".
std::string wrong_question_note(const ModelNotes& notes, const std::string& question);

}  // namespace r1
