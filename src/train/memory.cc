#include "train/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/integers.h"
#include "base/machine.h"
#include "base/process.h"
#include "engine/engine.h"
#include "model/kv_cache.h"
#include "model/scoring.h"

namespace r1 {
namespace {

double mib(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Rounds to tenths of a MiB.
double rounded_mib(int64_t bytes) {
  return static_cast<double>(static_cast<int64_t>(mib(bytes) * 10 + 0.5)) / 10;
}

}  // namespace

std::vector<RowTokens> full_micro_batch(std::span<const int64_t> lengths, int64_t micro, int64_t most) {
  R1_CHECK(!lengths.empty() && *std::ranges::min_element(lengths) >= 1, "rows without tokens");
  const int64_t longest = *std::ranges::max_element(lengths);
  const int64_t tokens = std::max(longest, std::min(micro, most));
  std::vector<RowTokens> rows{{longest}};
  int64_t left = tokens - longest;
  for (size_t i = 0; left > 0; i = (i + 1) % lengths.size()) {
    rows.push_back({std::min(left, lengths[i])});
    left -= rows.back().tokens;
  }
  return rows;
}

// Returns the tokens of the largest family: as many full-length answers as fit, because shorter ones may fill
// it.
int64_t largest_family(std::span<const int64_t> prompts, int64_t group, int64_t answer) {
  int64_t largest = 0;
  for (const int64_t length : prompts) {
    const int64_t prompt = length - 1, most = std::min(group * answer, most_family_tokens(prompt));
    largest = std::max(largest, prompt + std::max(answer, most));
  }
  return largest;
}

std::vector<RowTokens> full_micro_batch_of_groups(std::span<const int64_t> prompts, int64_t group,
                                                  int64_t answer, int64_t micro) {
  R1_CHECK(!prompts.empty() && group >= 1 && answer >= 1, prompts.size(), " prompts, ", group, " answers of ",
           answer);
  std::vector<RowTokens> rows;
  int64_t left = std::max(micro, largest_family(prompts, group, answer));
  const std::vector<int64_t> scored(static_cast<size_t>(group), answer);
  for (const int64_t length : prompts) {
    const int64_t prompt = length - 1;
    for (const size_t answers : cut_group(scored, prompt)) {
      const bool shared = answers > 1 && prompt > 0 && left > 0;
      if (shared) {
        rows.push_back({.tokens = std::min(left, prompt)});
        left -= rows.back().tokens;
      }
      for (size_t i = 0; i < answers && left > 0; ++i) {
        rows.push_back(shared ? RowTokens{std::min(left, answer), prompt}
                              : RowTokens{.tokens = std::min(left, prompt + answer)});
        left -= rows.back().tokens;
      }
    }
  }
  return rows;
}

int64_t step_activations(const ModelConfig& config, Numerics numerics, int64_t tokens, int64_t largest,
                         int64_t micro, const std::function<std::vector<RowTokens>(int64_t)>& rows,
                         const ActivationOptions& options, ThreadPool& threads) {
  const LanePlan plan = plan_lanes(row_of(numerics).device, tokens, largest, micro, threads.size());
  const std::vector<RowTokens> piece = rows(plan.piece);
  if (!plan.side_by_side || tokens <= plan.piece)
    return row_activations(config, numerics, piece, options, threads.size());
  const int64_t lanes = std::min<int64_t>(threads.size(), ceil_div(tokens, std::max(plan.piece, largest)));
  return lanes * row_activations(config, numerics, piece, options, 1);
}

MemoryEstimate trained_model(const ModelConfig& config, Numerics numerics) {
  const ModelMemory m = model_memory(config, numerics, DType::f32);
  MemoryEstimate out;
  out.weights = m.weights;
  out.gradients = m.gradients + m.row_gradients;
  out.optimizer = 2 * m.gradients;
  out.packed = m.packed;
  return out;
}

MemoryEstimate used_model(const ModelConfig& config, Numerics numerics, DType matrices, WeightUse use) {
  const ModelMemory m = model_memory(config, numerics, matrices, use);
  MemoryEstimate out;
  out.weights = m.weights;
  out.packed = m.packed;
  return out;
}

SamplingLoad sampling_load(const SamplingSettings& settings, std::span<const int64_t> prompts) {
  return {.max_batch = settings.batch,
          .prefill_chunk = settings.prefill_chunk,
          .samples = std::ssize(prompts) * settings.samples,
          .prompt_tokens = std::accumulate(prompts.begin(), prompts.end(), int64_t{0}),
          .longest_prompt = prompts.empty() ? 0 : *std::ranges::max_element(prompts),
          .max_tokens = settings.max_tokens};
}

void add_sampling(MemoryEstimate& estimate, const ModelConfig& config, Numerics numerics,
                  const SamplingLoad& load, ThreadPool& threads) {
  const int64_t running = std::min(load.max_batch, load.samples);
  const int64_t longest = load.longest_prompt +
                          std::clamp<int64_t>(config.max_positions - load.longest_prompt, 0, load.max_tokens);
  const int64_t pages = cache_pages(load.max_batch, load.samples, longest);
  estimate.kv += pages * KvCache::bytes_per_page(config, row_of(numerics).cache);
  // If there are more samples than max_batch, prompts are prefilled while other samples decode.
  const int64_t prefill = std::min(load.prefill_chunk, load.prompt_tokens);
  const int64_t together = load.samples > load.max_batch ? running + prefill : std::max(running, prefill);
  const SamplingShape largest{
      .tokens = together, .sequences = running, .prompt = load.longest_prompt, .keys = longest};
  estimate.activations += sampling_activations(config, numerics, largest, threads.size());
  estimate.activations += part_activations(config, numerics, largest, threads);
  // All answers are kept until the last one is finished. Each takes an id and a log-prob per token, and a
  // fixed part.
  constexpr int64_t kBytesOfAToken = 8, kBytesOfAnAnswer = 256;
  estimate.program += load.samples * (kBytesOfAToken * (longest - load.longest_prompt) + kBytesOfAnAnswer);
}

int64_t program_bytes(const MemoryEstimate& loaded) {
  return std::max<int64_t>(0, resident_bytes() - loaded.weights);
}

std::string memory_line(const MemoryEstimate& e, std::string_view what) {
  std::string parts = fmt::format("weights {:.1f} MiB", mib(e.weights));
  const auto add = [&](const char* name, int64_t bytes) {
    if (bytes > 0) parts += fmt::format(", {} {:.1f}", name, mib(bytes));
  };
  add("gradients", e.gradients);
  add("optimizer", e.optimizer);
  add("kernels' copies", e.packed);
  add("the critic", e.critic.total());
  if (e.critic.total() > 0) {
    parts += fmt::format(" (weights {:.1f}, gradients {:.1f}, optimizer {:.1f}, kernels' copies {:.1f})",
                         mib(e.critic.weights), mib(e.critic.gradients), mib(e.critic.optimizer),
                         mib(e.critic.packed));
  }
  add("activations", e.activations);
  add("KV pages", e.kv);
  add("the program", e.program);
  return fmt::format("memory of {}: {}: about {:.0f} MiB", what, parts, mib(e.total()));
}

int64_t machine_bytes() {
  const int64_t total = memory_facts().total, group = cgroup_limits().memory;
  return total > 0 && group > 0 ? std::min(total, group) : std::max(total, group);
}

void check_memory(const MemoryEstimate& e, int64_t limit, std::string_view what, std::string_view lower,
                  Device device) {
  // A GPU holds the weights already, and the program itself is elsewhere.
  const bool on_gpu = device != Device::cpu;
  const int64_t own =
      on_gpu ? static_cast<int64_t>(memory_of(device).free_bytes()) + e.weights : machine_bytes();
  const int64_t most = limit > 0 ? limit : own, needed = e.total() - (on_gpu ? e.program : 0);
  if (most <= 0 || needed <= most) return;
  throw Error(fmt::format(
      "{} {:.0f} MiB: {} needs about {:.0f} MiB (weights and what goes with them {:.0f}, "
      "activations {:.0f}, KV pages {:.0f}, the program {:.0f}): lower {}",
      limit > 0 ? "--memory-limit of"
      : on_gpu  ? "the GPU has"
                : "this machine has",
      mib(most), what, mib(needed), mib(e.weights + e.gradients + e.optimizer + e.packed + e.critic.total()),
      mib(e.activations), mib(e.kv), mib(e.program), lower));
}

std::string memory_line(const MemoryEstimate& e, const MemoryMeasured& m) {
  std::string line = fmt::format("memory measured: activations {:.1f} MiB (estimated {:.1f})",
                                 mib(m.activations), mib(e.activations));
  if (e.kv > 0) line += fmt::format(", KV pages {:.1f} ({:.1f})", mib(m.kv), mib(e.kv));
  if (m.resident > 0) line += fmt::format(", the process {:.0f} ({:.0f})", mib(m.resident), mib(e.total()));
  return line;
}

Json to_json(const MemoryEstimate& e, const MemoryMeasured& m) {
  Json json = Json::object();
  json.set("weights", rounded_mib(e.weights)).set("gradients", rounded_mib(e.gradients));
  json.set("optimizer", rounded_mib(e.optimizer)).set("packed", rounded_mib(e.packed));
  if (e.critic.total() > 0) json.set("critic", rounded_mib(e.critic.total()));
  json.set("activations", rounded_mib(e.activations)).set("kv", rounded_mib(e.kv));
  json.set("program", rounded_mib(e.program)).set("total", rounded_mib(e.total()));
  json.set("measured_activations", rounded_mib(m.activations)).set("measured_kv", rounded_mib(m.kv));
  json.set("measured_resident", rounded_mib(m.resident));
  return json;
}

}  // namespace r1
