// recipe/sft_document.h: one row of a data set as the tokens that are trained on.
//
//   {"question", "response"}                          a user's turn and its answer
//   {"messages": [..., {"role": "assistant", ...}]}   with tool calls, tool results, reasoning_content and
//                                                     content parts
//   and, with either: "tools", "documents", "chat_template_kwargs"
//
// The document is the output of the model's chat template. It is encoded as two texts, as when the model
// runs: the prompt (the conversation before the answer, with the generation prompt) and the answer with the
// end of its turn.
//
// - The answer ends with the token that the template writes after it, or with the model's stop token if the
//   template writes none. Text that the template writes behind that token (such as a newline) is not trained
//   on.
// - If the template leaves out the thought of the last message or rewrites it, as R1's does, the thought and
//   the answer are taken from the row, and the end of the turn from the template.
// - <think> is written once: by the generation prompt if it opens a thought, else by the answer. If the
//   prompt opens a thought and the answer has none, the answer begins by closing it.
// - Text such as "<|eot_id|>" in a message becomes the special token, as it does in transformers.
#pragma once

#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "train/pretrain.h"

namespace r1 {

// The fields that are read. All other columns are ignored.
inline constexpr const char* kSftFields[] = {"question", "response",  "messages",
                                             "tools",    "documents", "chat_template_kwargs"};

struct SftDocument {
  Document document;
  // Content that the template did not write: "messages of role system", "tool_calls", "tools", ...
  std::vector<std::string> left_out;
};

// If loss_on_answer, the loss covers the last message and the end of its turn, else the whole document.
// Throws Error.
SftDocument sft_document(const Json& row, const ModelBundle& bundle, bool loss_on_answer);

}  // namespace r1
