// cli/reward_rows.h: the rows of `r1 reward --input`: answers to be scored with a configuration's reward.
//
//   {"question"?, "gold" or "answer", "response" or "text", "task"?, "finish_reason"?, "truncated"?, "tokens"?,
//    "prompt_opened"?, "id"?}                                      further fields are ignored
//   or a row of samples.jsonl as r1 writes it, whose answer is decoded from its tokens
//
// The default of "task" is the configuration's data.task. "gold" may be missing if a program or an endpoint
// decides which answers are right. "tokens" is the list of the answer's tokens or their number. Without it,
// the model's tokenizer counts the text, and one is added for the stop token.
#pragma once

#include <optional>
#include <string>

#include "data/task.h"
#include "engine/prompt_format.h"
#include "formats/json.h"
#include "reward/reward.h"
#include "text/tokenizer.h"

namespace r1 {

struct RewardRow {
  int64_t row = 0;
  std::optional<Json> id;
  Problem problem;
  std::string group;  // step and prompt, or the question; consecutive rows with equal ones are a group
  std::string response;
  int64_t tokens = 0;
  bool ended = true;
};

// Reads the row with this number. `task` is the task of rows that name none. If `needs_gold` is set, the row
// must have a gold that the task's verifier can read. `think` says how the prompts of rows with prompt_tokens
// were asked. Throws Error if the row cannot be used.
RewardRow read_reward_row(const Json& row, int64_t number, const Tokenizer& tokenizer,
                          const std::string& task, bool needs_gold, PromptFormat::Think think);

}  // namespace r1
