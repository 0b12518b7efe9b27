// engine/engine.h: prompts in, samples out. `r1 run`, `r1 generate`, `r1 eval` and the trainer all use it.
//
// A sample is a pure function of (weights, prompt, sampling parameters, random key, numerics): batching,
// chunking, threads and sharing of prompts change no bit of its tokens or log-probs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "ops/sample/sample.h"

namespace r1 {

// Names a sample's random numbers: draw i of a sample is Philox of (seed; position i, sample, prompt, step).
struct RandomKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t prompt = 0;
};

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  std::string opening;          // see ChatPrompt; changes no sample
  int64_t samples = 1;
  int64_t first_sample = 0;  // the samples are first_sample .. first_sample + samples - 1
  int64_t max_tokens = 256;  // generated, the stop token included; sampling.max_length may be less
  SamplingParams sampling;
  RandomKey key;
  std::vector<int32_t>
      stop_tokens;            // usually the model's end-of-sequence tokens; kept as a sample's last token
  bool detect_loops = false;  // end a sample that only repeats itself
};

// The unfinished samples of `request`, as requests: one for each run of consecutive samples.
std::vector<Request> unfinished_part(const Request& request,
                                     const std::function<bool(int64_t sample)>& is_finished);

enum class FinishReason : uint8_t { stop, length, loop };
std::string_view name_of(FinishReason reason);
FinishReason finish_from_name(std::string_view name);  // throws Error

struct Completion {
  int64_t request = 0;
  int64_t sample = 0;
  std::vector<int32_t> tokens;  // generated, with the stop token
  std::vector<float> logprobs;  // of each, see ops/sample
  FinishReason finish = FinishReason::length;
};

struct EngineOptions {
  int64_t max_batch = 64;
  int64_t prefill_chunk = 2048;
  int64_t kv_bytes =
      0;  // upper bound of the cache; 0: whatever max_batch sequences of the longest request need
};

class Engine {
 public:
  // The context carries no tape; model and context outlive the engine.
  Engine(const Model& model, Context& ctx, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Called for each token as it is made (streaming). If it returns false, the sample ends with finish reason
  // stop.
  using OnToken = std::function<bool(int64_t request, int64_t sample, int32_t token)>;
  // Called for each sample as it ends.
  using OnDone = std::function<void(const Completion&)>;

  // Runs all requests to their end and hands each completion to on_done as it ends; memory holds only the
  // samples in progress. Throws Error for a prompt that does not fit the model's context or the cache (before
  // anything runs), or for weights that make NaN.
  void stream(std::span<const Request> requests, const OnDone& on_done, const OnToken& on_token = {});

  // The same; returns the completions in order of (request, sample).
  std::vector<Completion> run(std::span<const Request> requests, const OnToken& on_token = {},
                              const OnDone& on_done = {});

  int64_t kv_bytes() const;  // bytes of the cache: the most that any run needed
  // Peak bytes of the per-thread arenas (part_activations); the context's arena holds the rest.
  int64_t part_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bytes of the per-thread arenas, with sequences of at most `keys` positions. If a step consists of many
// small ops, each thread takes a part of a decoding batch through the whole model in its own arena. 0: all
// threads share each op of this model, in the context's arena.
int64_t part_activations(const ModelConfig& config, Numerics numerics, int64_t max_batch, int64_t keys,
                         const ThreadPool& threads);

// Returns true if `tokens` ends in a block repeated over and over: the same period for at least kLoopTokens
// tokens.
bool is_looping(std::span<const int32_t> tokens);
inline constexpr int64_t kLoopTokens = 256;

}  // namespace r1
