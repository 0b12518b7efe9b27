#include "server/metrics.h"

#include <fmt/format.h>

namespace r1 {
namespace {

template <class Value>
void write_metric(std::string& out, const char* name, const char* type, const char* help, Value value) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n{} {}\n", name, help, name, type, name, value);
}

void write_by_source(std::string& out, const char* name, const char* help, int64_t look_up, int64_t head) {
  out += fmt::format(
      "# HELP {0} {1}\n# TYPE {0} counter\n{0}{{source=\"look-up\"}} {2}\n{0}{{source=\"mtp\"}} {3}\n", name,
      help, look_up, head);
}

}  // namespace

void Metrics::Histogram::add(double value) {
  size_t bin = 0;
  while (bin < kBounds.size() && value > kBounds[bin]) ++bin;
  ++counts[bin];
  sum += value;
}

void Metrics::count_request(const std::string& route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{route, status}];
}

void Metrics::count_answer(const Answer& answer) {
  const std::lock_guard lock(mutex_);
  prompt_ += answer.prompt_tokens;
  cached_ += answer.cached_tokens;
  generated_ += answer.generated_tokens;
  reasoning_ += answer.reasoning_tokens;
  whole_.add(answer.seconds);
}

void Metrics::count_cancelled() {
  const std::lock_guard lock(mutex_);
  ++cancelled_;
}

void Metrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_.add(seconds);
}

void Metrics::between_tokens(double seconds) {
  const std::lock_guard lock(mutex_);
  between_.add(seconds);
}

void Metrics::write(std::string& out, const char* name, const char* help, const Histogram& histogram) {
  out += fmt::format("# HELP {} {}\n# TYPE {} histogram\n", name, help, name);
  int64_t total = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    total += histogram.counts[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], total);
  }
  total += histogram.counts.back();
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, total, name,
                     histogram.sum, name, total);
}

std::string Metrics::text(const EngineLoop::State& s, int64_t connections) const {
  std::string out;
  const std::lock_guard lock(mutex_);
  out += "# HELP r1_requests_total Requests by route and status.\n# TYPE r1_requests_total counter\n";
  for (const auto& [key, count] : requests_)
    out += fmt::format("r1_requests_total{{route=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
  write_metric(out, "r1_requests_cancelled_total", "counter", "Requests whose client left before the answer.",
               cancelled_);
  write_metric(out, "r1_prompt_tokens_total", "counter", "Tokens of prompts of ended answers.", prompt_);
  write_metric(out, "r1_cached_prompt_tokens_total", "counter", "Of these, tokens found in the prefix cache.",
               cached_);
  write_metric(out, "r1_generated_tokens_total", "counter", "Tokens of ended answers.", generated_);
  write_metric(out, "r1_reasoning_tokens_total", "counter", "Of these, tokens of thoughts.", reasoning_);
  write_metric(out, "r1_engine_steps_total", "counter", "Steps of the engine.", s.steps);
  const LookaheadCounts& guesses = s.engine.lookahead;
  write_by_source(out, "r1_guessed_tokens_total", "Tokens guessed, by prompt look-up and by the MTP head.",
                  guesses.look_up.guessed, guesses.head.guessed);
  write_by_source(out, "r1_accepted_guesses_total", "Of these, tokens that were drawn.",
                  guesses.look_up.accepted, guesses.head.accepted);
  write_metric(out, "r1_idle_prompts_total", "counter",
               "Conversations whose next turn was prepared when there was nothing else to do.", s.idle_jobs);
  write_metric(out, "r1_preemptions_total", "counter", "Sequences whose pages were taken away for a while.",
               s.engine.preemptions);
  write_metric(out, "r1_connections", "gauge", "Open connections.", connections);
  write_metric(out, "r1_requests_queued", "gauge", "Requests that wait for the engine.", s.queued);
  write_metric(out, "r1_requests_running", "gauge", "Requests in the engine.", s.running);
  write_metric(out, "r1_samples_running", "gauge", "Answers in the engine.", s.samples);
  write_metric(out, "r1_kv_bytes", "gauge", "Bytes of the KV cache.", s.kv_bytes);
  write_metric(out, "r1_kv_pages", "gauge", "Pages of the KV cache.", s.engine.pages);
  write_metric(out, "r1_kv_pages_free", "gauge", "Pages neither in use nor cached.", s.engine.free_pages);
  write_metric(out, "r1_kv_pages_cached", "gauge", "Pages that the prefix tree knows.",
               s.engine.cached_pages);
  write(out, "r1_time_to_first_token_seconds", "From a request's arrival to its first token.", first_);
  write(out, "r1_time_between_tokens_seconds", "Between two tokens of an answer.", between_);
  write(out, "r1_request_seconds", "From a request's arrival to the end of its answer.", whole_);
  return out;
}

}  // namespace r1
