// reward/scorer.h: what judges answers outside of r1: a program (program/program_pool.h) or an endpoint (http_scorer.h).
//
// A row is one JSON object:
//   {"id": "12/3/5", "task": "countdown3", "question": "...", "gold": as in the data, "response": the whole response,
//    "answer": the answer in it or null, "truncated": false, "tokens": 57}
// An answer to it:
//   {"id": "12/3/5", "score": 0.5, "correct"?: bool, "refused"?: bool, "why"?: "text"}
//   {"id": "12/3/5", "error": "text"}       nothing is known about this sample: it counts as verifier_failed
// Further fields of an answer are ignored. "id" is a string, unique among the rows of a call.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "reward/verdict.h"

namespace r1 {

class Json;

struct RowToScore {
  std::string id;
  std::string json;  // the object, on one line
};

struct ScoreAnswer {
  SampleStatus status = SampleStatus::verifier_failed;
  double score = 0;               // finite
  std::optional<bool> correct{};  // as the answer says
  std::string why{};              // the answer's own; of a failed one what went wrong, in a sentence
};

// Reads an answer apart from its id. One that is not as above is a failed one; its `why` says what is wrong.
ScoreAnswer read_score(const Json& answer);

class Scorer {
 public:
  virtual ~Scorer() = default;
  // One answer per row, in the rows' order, whatever goes wrong outside. `tick` is called several times per second and
  // may throw to stop. Calls come from one thread that lives as long as the scorer.
  virtual std::vector<ScoreAnswer> ask(std::span<const RowToScore> rows,
                                       const std::function<void()>& tick) = 0;
  // Lines on what went wrong since the last call and changed no score: restarts, answers given twice.
  virtual std::vector<std::string> take_notes() = 0;
};

// Returns a line about rows that `judge` ("reward program check") answered more than once.
std::string repeated_answers(const std::string& judge, int64_t rows, const std::string& last_id);

}  // namespace r1
