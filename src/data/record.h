// data/record.h: one row of a data set, in any of the usual formats.
//
//   GSM8K, MATH-500, AIME, AMC, Minerva   as published
//   question and answer                   question | problem | prompt | query, with answer | solution | completion |
//                                         response | output; "prompt" and "completion" may also be lists of messages
//   messages                              {"messages": [{"role", "content"}, ...]}, "tools"
//   ShareGPT                              {"conversations": [{"from", "value"}, ...]}, "system", "tools"
//   Alpaca                                {"instruction", "input", "output"}, "system", "history"
//   tasks                                 {"task", "question" | "prompt" | "problem", "gold" | "answer"}; a countdown may
//                                         also be {"numbers" | "nums", "target"}
//   text                                  {"text"}: a document
//   anything else                         by RecordMapping
//
// Rows of HumanEval and MBPP are recognised and refused: their answers are programs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "data/task.h"
#include "formats/json.h"

namespace r1 {

struct Record {
  std::string format;         // the name of the recognised format, for notes: "GSM8K", "prompt/completion"
  std::string task = "math";  // the task whose verifier judges answers
  std::string question;       // the user's turn; "": none
  std::string answer;         // the whole reference answer, as found; "": none
  Json gold = {};      // the final answer, as data/task.h's Problem::gold: a string for "math"; null: none
  Json messages = {};  // the conversation, with the roles that chat templates use; null: none
  Json tools = {};     // a list; null: none
  std::string text;    // a plain document; "": none
};

// Tells if a row must have a final answer. A problem that the user's own program judges needs none.
enum class GoldIs : uint8_t { required, optional };

// Expressions that give the question and the answer of a row, from [data] question and answer. Each is a
// Jinja expression over the row's fields (choices[answer], info.question ~ "?"), or a template if it contains
// {{ or {%.
class RecordMapping {
 public:
  RecordMapping() = default;  // recognises the formats above
  // An empty string is no expression. `source` names the configuration in errors. Throws Error for an
  // expression that is not valid Jinja.
  RecordMapping(const std::string& question, const std::string& answer, const std::string& source);
  bool empty() const { return question_ == nullptr && answer_ == nullptr; }

 private:
  friend Record read_record(const Json& row, const RecordMapping& mapping, GoldIs gold);
  struct Expression;
  std::shared_ptr<const Expression> question_, answer_;
};

// Reads a row. An expression of the mapping replaces the fields above; the row fails if it gives no text.
// Throws Error ("FILE:LINE: ..." if the row was parsed under that name) for a row in no known format or with
// a field that its format does not allow.
Record read_record(const Json& row, const RecordMapping& mapping = {}, GoldIs gold = GoldIs::required);

// Returns the final answer of a reference answer: the text behind the last "####", or in the last
// \boxed{...}, \fbox{...} or \framebox{...}. Returns "" if there is none of these.
std::string marked_answer(std::string_view text);

// Returns the record as a problem. A countdown without a question is asked in `phrasing` (0 .. kPhrasings -
// 1). Throws Error if the record has no question or no final answer, or if its conversation is more than one
// question. It does not check that the task's verifier can read the gold.
Problem problem_of(const Record& record, int phrasing = 0, GoldIs gold = GoldIs::required);

}  // namespace r1
