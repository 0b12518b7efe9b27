// data/record.h: one row of a data set, in whichever of the usual formats it is.
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
  Json messages = {};  // the conversation, roles as chat templates name them; null: none
  Json tools = {};     // a list; null: none
  std::string text;    // a plain document; "": none
};

// Whether a row must have a final answer. A problem that the user's own program judges needs none.
enum class GoldIs : uint8_t { required, optional };

// Where the question and the answer of a row stand, as [data] question and answer say: a Jinja expression over the
// row's fields (choices[answer], info.question ~ "?"), or a template, if the text holds {{ or {%.
class RecordMapping {
 public:
  RecordMapping() = default;  // recognises the formats above
  // "": no expression. `source` names the file in errors. Throws Error for an expression that is no Jinja.
  RecordMapping(const std::string& question, const std::string& answer, const std::string& source);
  bool empty() const { return question_ == nullptr && answer_ == nullptr; }

 private:
  friend Record read_record(const Json& row, const RecordMapping& mapping, GoldIs gold);
  struct Expression;
  std::shared_ptr<const Expression> question_, answer_;
};

// Throws Error ("FILE:LINE: ..." if the row was parsed under that name) for a row that is of no known format or is not of
// its format's form. An expression of the mapping takes the place of the fields above; it fails if it gives no text.
Record read_record(const Json& row, const RecordMapping& mapping = {}, GoldIs gold = GoldIs::required);

// The final answer at the end of a reference answer: behind its last "####", or in its last \boxed{...}, \fbox{...} or
// \framebox{...}; "": none of these.
std::string marked_answer(std::string_view text);

// The record as a problem. A countdown without a question is asked in `phrasing` (0 .. kPhrasings - 1). Throws Error if
// the record has no question or no final answer, or if its conversation is more than one question. Whether the task's
// verifier can read the gold is not looked at.
Problem problem_of(const Record& record, int phrasing = 0, GoldIs gold = GoldIs::required);

}  // namespace r1
