// server/metrics.h: counters and histograms in Prometheus' text format (version 0.0.4).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "server/engine_loop.h"

namespace r1 {

// Safe from many threads.
class Metrics {
 public:
  void count_request(const std::string& route, int status);
  // An answer has ended.
  struct Answer {
    int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, reasoning_tokens = 0;
    double seconds = 0;
  };
  void count_answer(const Answer& answer);
  void count_cancelled();
  void first_token(double seconds);  // from the arrival of the request
  void between_tokens(double seconds);

  std::string text(const EngineLoop::State& state, int64_t connections) const;

 private:
  static constexpr std::array<double, 14> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   60};
  struct Histogram {
    std::array<int64_t, kBounds.size() + 1> counts{};
    double sum = 0;
    void add(double value);
  };
  static void write(std::string& out, const char* name, const char* help, const Histogram& histogram);

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_;
  int64_t cancelled_ = 0, prompt_ = 0, cached_ = 0, generated_ = 0, reasoning_ = 0;
  Histogram first_, between_, whole_;
};

}  // namespace r1
