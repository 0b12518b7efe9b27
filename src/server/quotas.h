// server/quotas.h: how much an API key may ask for.
//
// Each limit is a bucket that holds what the limit allows in its time and is filled evenly: a key that has not
// asked for a while may ask for all of it at once. A request needs a whole request and at least one token; what
// it then takes (its prompt and its answers) is known at its end, and may empty a bucket to below nothing, so
// that later requests wait for longer.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace r1 {

// 0: no limit.
struct KeyQuota {
  int64_t requests_per_minute = 0, tokens_per_minute = 0, tokens_per_day = 0;
  bool operator==(const KeyQuota&) const = default;
};

// Safe from many threads. Time is given by the callers.
class Quotas {
 public:
  using Clock = std::chrono::steady_clock;

  Quotas() = default;
  explicit Quotas(std::map<std::string, KeyQuota> quotas);  // by owner; others have no limits

  // Takes one request. Throws ApiError 429 with Retry-After if a limit is reached.
  void begin(const std::string& owner, Clock::time_point now);
  void spend(const std::string& owner, int64_t tokens, Clock::time_point now);

 private:
  struct Bucket {
    double size = 0;  // 0: no limit
    double seconds = 60;
    double level = 0;
    Clock::time_point filled;
    void fill(Clock::time_point now);
    // Seconds until the level is at least `want`.
    double wait(double want) const;
  };
  struct Buckets {
    Bucket requests, tokens, day;
    bool used = false;
  };

  std::mutex mutex_;
  std::map<std::string, Buckets> buckets_;
};

}  // namespace r1
