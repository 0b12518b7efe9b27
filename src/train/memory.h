// train/memory.h: the memory of a training step: estimated before it starts, compared with the measured use
// after.
//
// The estimate assumes a full largest micro-batch and every answer at its longest. All else that the process
// holds (code, tokenizer, documents) is measured before the first step.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "engine/sampling_settings.h"
#include "formats/json.h"
#include "model/memory.h"

namespace r1 {

// Bytes of a model in training that is not the policy.
struct CriticMemory {
  int64_t weights = 0, gradients = 0, optimizer = 0, packed = 0;
  int64_t total() const { return weights + gradients + optimizer + packed; }
};

// Bytes.
struct MemoryEstimate {
  int64_t weights = 0;  // those of a frozen reference included
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t packed = 0;
  int64_t activations = 0;   // the arena's peak, with a micro-batch's KV pages, and the sampler's parts
  int64_t kv = 0;            // the sampler's pages
  int64_t program = 0;       // all else: what the process held before, and the sampled answers
  CriticMemory critic = {};  // empty without PPO
  int64_t total() const {
    return weights + gradients + optimizer + packed + critic.total() + activations + kv + program;
  }
};

// The sampler's load: max_batch and prefill_chunk as in EngineOptions, and the sizes of the requests, one per
// prompt.
struct SamplingLoad {
  int64_t max_batch = 0, prefill_chunk = 0;
  int64_t samples = 0;        // of all requests
  int64_t prompt_tokens = 0;  // of all requests
  int64_t longest_prompt = 0, max_tokens = 0;
};
// Returns the load of requests with these settings for prompts of these lengths.
SamplingLoad sampling_load(const SamplingSettings& settings, std::span<const int64_t> prompts);

// Returns the rows (input tokens each) of a full micro-batch of at most min(micro, most) tokens, with lengths
// like `lengths`. The longest row comes first; if it is longer than that, it is the only one.
std::vector<RowTokens> full_micro_batch(std::span<const int64_t> lengths, int64_t micro, int64_t most);
// Returns the tokens of the largest family, for groups of `group` answers of at most `answer` scored tokens
// each to prompts of these lengths.
int64_t largest_family(std::span<const int64_t> prompts, int64_t group, int64_t answer);
// Returns the rows of a full micro-batch of `micro` tokens, made of families (model/scoring.h): groups of
// `group` answers of `answer` scored tokens each to prompts of these lengths. The micro-batch is as long as
// the largest family if that is longer than `micro`.
std::vector<RowTokens> full_micro_batch_of_groups(std::span<const int64_t> prompts, int64_t group,
                                                  int64_t answer, int64_t micro);

// Returns the peak activation bytes of a step of `tokens` tokens with at most `micro` in flight
// (model/lanes.h). `largest` is the biggest unit that cannot be split; rows(n) returns the rows of the
// largest piece of n tokens.
int64_t step_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t largest,
                         int64_t micro, const std::function<std::vector<RowTokens>(int64_t)>& rows,
                         const ActivationOptions& options, ThreadPool& threads);

// The weights, gradients, optimizer state and kernels' copies of a model in training.
MemoryEstimate trained_model(const ModelConfig& config, Numerics numerics);
// The weights, with matrices of this type, and the kernels' copies.
MemoryEstimate used_model(const ModelConfig& config, Numerics numerics, DType matrices,
                          WeightUse use = WeightUse::inference);
// Adds the memory of sampling, which is separate from training's: KV pages, activations and the answers.
void add_sampling(MemoryEstimate& estimate, const ModelConfig& config, Numerics numerics,
                  const SamplingLoad& load, ThreadPool& threads);
// Returns the resident bytes of the process now, less the weights of `loaded`.
int64_t program_bytes(const MemoryEstimate& loaded);

// "memory of a step: weights 4.5 MiB, gradients 4.5, ...: about 415 MiB"
std::string memory_line(const MemoryEstimate& estimate, std::string_view what);
// Throws Error if the estimate exceeds `limit` (0: the memory of the machine or of the process's control
// group; on a GPU, what is free there and what the weights take). `lower` names the settings that can be
// lowered.
void check_memory(const MemoryEstimate& estimate, int64_t limit, std::string_view what,
                  std::string_view lower, Device device = Device::cpu);

// Bytes measured after a run; 0: not known.
struct MemoryMeasured {
  int64_t activations = 0, kv = 0, resident = 0;
};
std::string memory_line(const MemoryEstimate& estimate, const MemoryMeasured& measured);
// run.json's "memory_mib".
Json to_json(const MemoryEstimate& estimate, const MemoryMeasured& measured);

}  // namespace r1
