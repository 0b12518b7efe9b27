// cli/chat.h: the conversation of `r1 run` on a terminal.
#pragma once

#include "cli/answer_printer.h"
#include "cli/common.h"

namespace r1 {

// Asks and answers until an empty line or the end of input. Every line is a question of its own: the model
// sees no earlier one. Ctrl-C ends an answer, not the program. Returns the exit status.
int chat(const SamplingModel& model, Runtime& runtime, const SamplingFlags& flags, AnswerStyle style);

// The first paragraph of a README.md (no heading, no front matter), on one line; "" where there is none.
std::string first_paragraph(const std::string& markdown);

}  // namespace r1
