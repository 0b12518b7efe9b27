// cli/common.h: what the subcommands share: finding a model, the context it runs in, and reading options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "tensor/context.h"

namespace r1 {

// A directory; the name of a shipped model (models/NAME beside the directory of the program or in the current
// one); "" is kDefaultModel. Throws Error that lists the shipped models.
std::filesystem::path resolve_model(const std::string& name);
inline constexpr const char* kDefaultModel = "r1-nano";

// "2G", "512M", "1.5GiB": bytes, in powers of 1024. Throws Error.
int64_t parse_size(const std::string& text);

// Throws Error for what this build cannot do (a device, a dtype), before anything is loaded.
void check_common(const CommonOptions& common);
int thread_count(const CommonOptions& common);
// The same for commands that train: their numerics are the configuration's.
void check_training(const CommonOptions& common);
int64_t memory_limit(const CommonOptions& common);  // bytes; 0: none. Throws Error
// Prints lines for a person to standard error, each after "r1: ".
void show_warnings(std::span<const std::string> lines);
// Says where the finished model is: its path, or {"model": path}.
void show_model(const CommonOptions& common, const std::filesystem::path& directory);

// --numerics; else by --dtype; else by the checkpoint's own dtype: bf16 is run by cpu-bf16, all else by
// cpu-f32. Throws Error for what is not known or what this machine lacks.
Numerics choose_numerics(const CommonOptions& common, const std::filesystem::path& model);

// Threads, activations and the bound of the KV cache. With --memory-limit, what is left beside the weights
// (twice: the kernels keep their own layout) is shared evenly by activations and cache.
struct Runtime {
  Runtime(const CommonOptions& common, const Model& model, Numerics numerics);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  int64_t half_of_rest;  // 0: no limit
  ThreadPool threads;
  Arena arena;
  Context ctx;
  int64_t kv_bytes() const { return half_of_rest; }
  // Of activations, bytes.
  size_t arena_limit() const {
    return half_of_rest > 0 ? static_cast<size_t>(half_of_rest) : Arena::kDefaultLimit;
  }
};

// A model for sampling, with its tokenizer where the directory has one: token ids alone need none.
struct SamplingModel {
  // Prints the model's warnings.
  static SamplingModel load(const CommonOptions& common, const std::filesystem::path& directory);

  const Model& model() const { return bundle ? bundle->model : *bare; }
  const ModelBundle& tokenized() const;  // throws Error where there is no tokenizer
  std::string text_of(
      std::span<const int32_t> tokens) const;  // special tokens dropped; "" without a tokenizer

  std::filesystem::path directory;
  Numerics numerics = Numerics::cpu_f32;
  std::optional<ModelBundle> bundle;
  std::optional<Model> bare;
  SamplingParams sampling;
  std::vector<int32_t> stop_tokens;
  int64_t max_tokens = 0;  // the model's own bound; 0: it has none
};

// The flags over the model's defaults; all but prompt, samples and key. Throws Error for a value that cannot
// be.
Request base_request(const SamplingFlags& flags, const SamplingParams& defaults,
                     const std::vector<int32_t>& stop_tokens, int64_t max_tokens);
inline constexpr int64_t kDefaultMaxTokens = 1024;  // where max_tokens is 0

// An option that counts something; throws Error "--batch is 0; it must be at least 1".
void check_at_least(std::string_view option, int64_t value, int64_t low);

// A JSON array of token ids; throws Error at the bad item.
std::vector<int32_t> read_token_ids(const Json& array);

// Throws Error where the prompt has tokens that are not the model's or leaves no room for an answer.
void check_prompt(const Model& model, std::span<const int32_t> tokens, const std::string& what);

}  // namespace r1
