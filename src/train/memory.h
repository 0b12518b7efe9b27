// train/memory.h: the memory of a training step: told before it starts, held against what was measured after.
//
// The largest micro-batch is taken to be full, and every answer as long as it may be. What the process
// holds besides (code, tokenizer, documents) is measured, before the first step.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/threads.h"
#include "formats/json.h"
#include "model/memory.h"

namespace r1 {

// Bytes.
struct MemoryEstimate {
  int64_t weights = 0;  // a frozen reference's and its copies too
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t packed = 0;
  int64_t activations = 0;  // the arena's peak, a micro-batch's own KV pages in it, and the sampler's parts
  int64_t kv = 0;           // the sampler's pages
  int64_t program = 0;      // all else: what the process held before, and the answers of a sampling
  int64_t total() const { return weights + gradients + optimizer + packed + activations + kv + program; }
};

// What is sampled at a time: as EngineOptions, with the lengths of the requests.
struct SamplingLoad {
  int64_t max_batch = 0, prefill_chunk = 0;
  int64_t samples = 0;        // of all requests
  int64_t prompt_tokens = 0;  // of all requests
  int64_t longest_prompt = 0, max_tokens = 0;
};

// Rows (input tokens each) of a micro-batch of `micro` tokens, made of sequences like `lengths`, of which
// there are at most `most` tokens: filled to the brim, a row longer than `micro` alone.
std::vector<RowTokens> full_micro_batch(std::span<const int64_t> lengths, int64_t micro, int64_t most);
// Tokens of the largest family of groups of `group` answers, of at most `answer` scored tokens each, to
// prompts of these lengths.
int64_t largest_family(std::span<const int64_t> prompts, int64_t group, int64_t answer);
// Of one step's groups of `group` answers, `answer` scored tokens each, to prompts of these lengths, in
// families (model/scoring.h): filled to the brim, a family longer than `micro` alone.
std::vector<RowTokens> full_micro_batch_of_groups(std::span<const int64_t> prompts, int64_t group,
                                                  int64_t answer, int64_t micro);

// The activations of a step of `tokens` tokens, whose largest indivisible part has `largest`, where at most
// `micro` are held at a time (model/lanes.h); rows(n): of the largest piece of n tokens.
int64_t step_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t largest,
                         int64_t micro, const std::function<std::vector<RowTokens>(int64_t)>& rows,
                         const ActivationOptions& options, ThreadPool& threads);

// Weights and what training keeps of each.
MemoryEstimate trained_model(const ModelConfig& config, Numerics numerics);
// Weights, the matrices of this type, and the kernels' copies.
MemoryEstimate used_model(const ModelConfig& config, Numerics numerics, DType matrices);
// Adds what sampling takes, in memory of its own: pages and activations.
void add_sampling(MemoryEstimate& estimate, const ModelConfig& config, Numerics numerics,
                  const SamplingLoad& load, ThreadPool& threads);
// What the process holds now besides `loaded` models.
int64_t program_bytes(const MemoryEstimate& loaded);

// "memory of a step: weights 4.5 MiB, gradients 4.5, ...: about 415 MiB"
std::string memory_line(const MemoryEstimate& estimate, std::string_view what);
// Throws Error if that is more than `limit` (0: what the machine or the process's control group has); `lower`
// names the settings.
void check_memory(const MemoryEstimate& estimate, int64_t limit, std::string_view what,
                  std::string_view lower);

// After a run: bytes; 0: not known.
struct MemoryMeasured {
  int64_t activations = 0, kv = 0, resident = 0;
};
std::string memory_line(const MemoryEstimate& estimate, const MemoryMeasured& measured);
// run.json's "memory_mib".
Json to_json(const MemoryEstimate& estimate, const MemoryMeasured& measured);

}  // namespace r1
