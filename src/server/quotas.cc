#include "server/quotas.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/api_error.h"

namespace r1 {

Quotas::Quotas(std::map<std::string, KeyQuota> quotas) {
  const auto bucket = [](int64_t size, double seconds) {
    return Bucket{.size = static_cast<double>(size),
                  .seconds = seconds,
                  .level = static_cast<double>(size),
                  .filled = {}};
  };
  for (const auto& [owner, quota] : quotas) {
    if (quota == KeyQuota{}) continue;
    buckets_[owner] = {.requests = bucket(quota.requests_per_minute, 60),
                       .tokens = bucket(quota.tokens_per_minute, 60),
                       .day = bucket(quota.tokens_per_day, 86400)};
  }
}

void Quotas::Bucket::fill(Clock::time_point now) {
  const double passed = std::chrono::duration<double>(now - filled).count();
  if (passed > 0) level = std::min(size, level + size / seconds * passed);
  filled = std::max(filled, now);
}

double Quotas::Bucket::wait(double want) const {
  return size == 0 || level >= want ? 0 : (want - level) * seconds / size;
}

void Quotas::begin(const std::string& owner, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto at = buckets_.find(owner);
  if (at == buckets_.end()) return;
  Buckets& b = at->second;
  const std::pair<Bucket*, const char*> limits[] = {
      {&b.requests, "requests per minute"}, {&b.tokens, "tokens per minute"}, {&b.day, "tokens per day"}};
  for (const auto& [bucket, what] : limits) {
    if (bucket->size == 0) continue;
    if (!b.used) bucket->filled = now;
    bucket->fill(now);
    const double wait = bucket->wait(1);
    if (wait == 0) continue;
    throw ApiError(fmt::format("the limit of this API key is reached: {:.0f} {}", bucket->size, what),
                   {.status = 429,
                    .code = "rate_limit_exceeded",
                    .retry_after_s = static_cast<int64_t>(std::ceil(wait))});
  }
  b.used = true;
  if (b.requests.size > 0) b.requests.level -= 1;
}

void Quotas::spend(const std::string& owner, int64_t tokens, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto at = buckets_.find(owner);
  if (at == buckets_.end()) return;
  for (Bucket* bucket : {&at->second.tokens, &at->second.day}) {
    if (bucket->size == 0) continue;
    bucket->fill(now);
    bucket->level -= static_cast<double>(tokens);
  }
}

}  // namespace r1
