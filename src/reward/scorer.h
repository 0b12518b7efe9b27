// reward/scorer.h: the interface of scorers outside of r1: programs (program/program_pool.h) and endpoints
// (http_scorer.h).
//
// A row is one JSON object:
//   {"id": "12/3/5", "task": "countdown3", "question": "...", "gold": as in the data, "response": the whole response,
//    "answer": the answer in it or null, "truncated": false, "tokens": 57}
// Its answer is one of these:
//   {"id": "12/3/5", "score": 0.5, "correct"?: bool, "refused"?: bool, "why"?: "text"}
//   {"id": "12/3/5", "error": "text"}       nothing is known about the sample, which counts as verifier_failed
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
  std::optional<bool> correct{};  // the answer's "correct", if it has one
  std::string why{};              // the answer's "why", or the reason of a failure
};

// Reads an answer except for its id. A malformed answer gives a failure whose `why` describes the mistake.
ScoreAnswer read_score(const Json& answer);

class Scorer {
 public:
  virtual ~Scorer() = default;
  // Returns one answer per row, in the rows' order, even if the outside scorer fails. `tick` is called
  // several times per second and may throw to stop. All calls must come from one thread that lives as long as
  // the scorer.
  virtual std::vector<ScoreAnswer> ask(std::span<const RowToScore> rows,
                                       const std::function<void()>& tick) = 0;
  // Returns lines about incidents since the last call that changed no score: restarts, answers given twice.
  virtual std::vector<std::string> take_notes() = 0;
};

// Returns a line about rows that `judge` ("reward program check") answered more than once.
std::string repeated_answers(const std::string& judge, int64_t rows, const std::string& last_id);

}  // namespace r1
