// cli/reward_rows.h: the rows of `r1 reward --input`: answers to be scored with a configuration's reward.
//
//   {"question"?, "gold" or "answer", "response" or "text", "task"?, "finish_reason"?, "truncated"?, "tokens"?,
//    "prompt_opened"?, "id"?}                                      further fields are not looked at
//   or a row of samples.jsonl as r1 writes it: its answer is decoded from its tokens
//
// Without "task" the answer is judged as one of the configuration's data.task. "gold" may be missing if a program or an
// endpoint says which answers are right. "tokens" is the answer's tokens or their number; without it the text is
// counted with the model's tokenizer, and one more for the stop token.
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
  std::string group;  // rows in a row with the same one are a group: step and prompt, or the question
  std::string response;
  int64_t tokens = 0;
  bool ended = true;
};

// `task` judges rows that name none; `needs_gold`: the task's verifier is asked, so the gold must be one that it can
// read. `think` says how the prompts of rows with prompt_tokens were asked. Throws Error for a row that cannot be used.
RewardRow read_reward_row(const Json& row, int64_t number, const Tokenizer& tokenizer,
                          const std::string& task, bool needs_gold, PromptFormat::Think think);

}  // namespace r1
