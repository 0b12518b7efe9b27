// reward/http_scorer.h: [[reward.http]]: the user's endpoint that scores rows (scorer.h).
//
//   POST URL, Content-Type: application/json      {"rows": [row, ...]}
//   200                                           {"scores": [answer, ...]}, in any order; one answer per row, by id
//
// Requests of at most `batch` rows are sent on `parallel` connections. If a request fails (no connection, a
// time-out, another status, a malformed body, a row without an answer), its rows without an answer are asked
// again, one row per request. A row fails if that request fails too. If a row is answered twice, the first
// answer counts. If no row has ever been answered and kHopelessRequests have failed, the remaining rows fail
// without being asked.
//
// Each connection stays open for the next request (base/http_client.h: certificates, proxies).
#pragma once

#include <memory>

#include "reward/reward_config.h"
#include "reward/scorer.h"

namespace r1 {

inline constexpr int64_t kHopelessRequests = 8;

class HttpScorer : public Scorer {
 public:
  // Opens no connection yet. Throws Error for a URL that cannot be read.
  explicit HttpScorer(const HttpConfig& config);
  ~HttpScorer() override;
  std::vector<ScoreAnswer> ask(std::span<const RowToScore> rows, const std::function<void()>& tick) override;
  std::vector<std::string> take_notes() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
