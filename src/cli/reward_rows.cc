#include "cli/reward_rows.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/common.h"
#include "cli/row_fields.h"
#include "data/countdown.h"
#include "reward/answer.h"
#include "reward/verifier.h"
#include "text/think.h"

namespace r1 {
namespace {

const Json* first_there(const Json& row, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (const Json* value = row.find(name); value != nullptr && !value->is_null()) return value;
  }
  return nullptr;
}

bool is_ended(const Json& row) {
  if (row.contains("finish_reason")) return row.get_string("finish_reason") == "stop";
  return !row.get_bool_or("truncated", false);
}

void read_problem(const Json& row, const std::string& task, bool needs_gold, Problem& problem) {
  problem.task = row.get_string_or("task", task);
  if (const Json* question = first_there(row, {"question", "prompt", "problem"}); question != nullptr) {
    if (question->is_string()) problem.question = question->string();
  }
  // A row of samples.jsonl holds Problem::gold itself, which is JSON in a string.
  const bool ours = row.contains("weights_sha256");
  if (const Json* gold = first_there(row, {"gold", "answer"}); gold != nullptr) {
    problem.gold = ours && gold->is_string() ? gold->string()
                   : gold->is_number()       ? Json(gold->literal()).dump()
                                             : gold->dump();
  } else if (needs_gold && row.contains("numbers")) {
    problem.gold = countdown_task(countdown_of(row), 0).gold;
  } else if (needs_gold) {
    throw Error(row.source() + ": the row has no gold; it needs gold or answer");
  }
  if (needs_gold) (void)Verifier(problem);  // throws for a gold that is not of its task's shape
}

void read_answer(const Json& row, const Tokenizer& tokenizer, PromptFormat::Think think, RewardRow& out) {
  const Json* tokens = first_there(row, {"tokens"});
  const Json* text = first_there(row, {"response", "text", "completion", "pred"});
  std::string opening = row.get_bool_or("prompt_opened", false) ? std::string(kThinkOpen) : "";
  if (tokens != nullptr && tokens->is_array()) {
    const std::vector<int32_t> ids = read_token_ids(*tokens);
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size())
        tokens->fail(fmt::format("has token {}, which the model's tokenizer does not have", id));
    }
    if (const Json* prompt = row.find("prompt_tokens")) {
      opening = think == PromptFormat::Think::off
                    ? std::string(kEmptyThought)
                    : thought_opening(tokenizer.decode(read_token_ids(*prompt)));
    }
    out.tokens = std::ssize(ids);
    out.response = answered_text(tokenizer, ids, out.ended, opening);
    return;
  }
  if (text == nullptr)
    throw Error(row.source() + ": the row has no answer; it needs response, text or tokens");
  out.response = whole_response(text->string(), opening);
  out.tokens =
      tokens != nullptr ? tokens->integer() : std::ssize(tokenizer.encode(text->string(), false)) + 1;
  if (out.tokens < 1) tokens->fail(fmt::format("is {}; it must be at least 1", out.tokens));
}

}  // namespace

RewardRow read_reward_row(const Json& row, int64_t number, const Tokenizer& tokenizer,
                          const std::string& task, bool needs_gold, PromptFormat::Think think) {
  if (!row.is_object()) row.fail("is not an object");
  RewardRow out;
  out.row = number;
  out.id = row_id(row);
  out.ended = is_ended(row);
  read_problem(row, task, needs_gold, out.problem);
  read_answer(row, tokenizer, think, out);
  out.group = row.contains("step") && row.contains("sample")
                  ? fmt::format("{}/{}", row.get_int("step"), row.get_int("prompt"))
                  : "question " + out.problem.question;
  return out;
}

}  // namespace r1
