// recipe/sft_document.h: one row of a data set as the documents that are trained on.
//
//   {"question", "response"}                          a user's turn and its answer
//   {"messages": [..., {"role": "assistant", ...}]}   with tool calls, tool results, reasoning_content and
//                                                     content parts
//   and, with either: "tools", "documents", "chat_template_kwargs"
//
// [data] loss_on says which tokens are trained on:
//   answer      the last message and the end of its turn
//   assistant   every message of the assistant and the end of its turn. A first message, which answers
//               nothing, is context.
//   all         all tokens
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
//
// With loss_on = "assistant", each answer is encoded as it is for "answer", after the prompt that the model
// gets when it is asked for it. As long as this prompt repeats the text so far, the turns share one document.
// If the template writes earlier turns in another way, as R1's does, which drops their thoughts, the answer
// begins a document of its own, so that every answer is trained on after exactly the text that it follows in
// use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/pretrain.h"

namespace r1 {

// The fields that are read. All other columns are ignored.
inline constexpr const char* kSftFields[] = {"question", "response",  "messages",
                                             "tools",    "documents", "chat_template_kwargs"};

enum class LossOn : uint8_t { answer, assistant, all };
// Reads data.loss_on. Throws Error.
LossOn read_loss_on(ConfigFile& file, LossOn fallback);
std::string_view name_of(LossOn loss_on);

struct SftDocument {
  std::vector<Document> documents;  // one, except with LossOn::assistant
  // Content that the template did not write: "messages of role system", "tool_calls", "tools", ...
  std::vector<std::string> left_out;
};

// Throws Error.
SftDocument sft_document(const Json& row, const ModelBundle& bundle, LossOn loss_on);

}  // namespace r1
