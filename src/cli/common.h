// cli/common.h: code shared by the subcommands: finding a model, its runtime, and reading options.
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
#include "engine/sampling_settings.h"
#include "formats/json.h"
#include "tensor/workspace.h"

namespace r1 {

// Returns the directory or the GGUF file of a model. `name` is one of them, a model of the hub that is in the
// cache (org/name), the name of a shipped model (models/NAME beside the directory of the program or in the
// current one), or "" for kDefaultModel. Throws Error that lists the shipped models, or names r1 pull.
std::filesystem::path resolve_model(const std::string& name);
inline constexpr const char* kDefaultModel = "r1-nano";

// Returns the bytes of "2G", "512M" or "1.5GiB", in powers of 1024. Throws Error.
int64_t parse_size(const std::string& text);

// Throws Error for a device or a dtype that this build does not support. Called before anything is loaded.
void check_common(const CommonOptions& common);
// Return the device of --device, and its memory. Throw Error if there is no such device.
Device device_of(const CommonOptions& common);
Memory& device_memory(const CommonOptions& common);
int thread_count(const CommonOptions& common);
// Bytes that a run may take now: --memory-limit, or what is free on the device, and in the control group on the CPU.
int64_t usable_memory(const CommonOptions& common);
// For r1 plan and r1 bench: what the "device" of their JSON is called, and what its bandwidth is of.
std::string_view machine_name(const Json& json);
std::string_view bandwidth_name(const Json& json);
// The same check for commands that train, which take their numerics from the configuration.
void check_training(const CommonOptions& common);
int64_t memory_limit(const CommonOptions& common);  // bytes; 0: none. Throws Error
// Prints lines to standard error, each after "r1: ".
void show_warnings(std::span<const std::string> lines);
// Prints the path of the finished model; with --json, {"model": path}.
void show_model(const CommonOptions& common, const std::filesystem::path& directory);

// Returns the numerics given by --numerics, else the default (tensor/numerics.h) of --dtype or of the
// checkpoint: of its dtype, or that of quantised weights unless the weights are needed in `full`. A default
// other than f32's is printed to standard error, once per process. Throws Error if the numerics are unknown
// or this machine does not support them. `config` is the model's.
Numerics choose_numerics(const CommonOptions& common, const std::filesystem::path& model,
                         const ModelConfig& config, bool full = false);
// The same for a model that is loaded next, whose configuration is read here. Throws Error, too, if its weights are
// larger than the GPU's free memory.
Numerics numerics_to_load(const CommonOptions& common, const std::filesystem::path& model, bool full = false);

// Threads, activations and the bound of the KV cache. With --memory-limit, the memory left beside the weights
// (counted twice if they are trained, since the kernels keep their own layout) is divided evenly between
// activations and cache.
struct Runtime {
  Runtime(const CommonOptions& common, const Model& model, Numerics numerics);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  int64_t half_of_rest;  // 0: no limit
  ThreadPool threads;
  Workspace work;  // on the model's device
  Context& ctx = work.ctx;
  int64_t kv_bytes() const { return half_of_rest; }
  // Limit of the activations in bytes.
  size_t arena_limit() const {
    return half_of_rest > 0 ? static_cast<size_t>(half_of_rest) : Arena::kDefaultLimit;
  }
};

// A model for sampling, with its tokenizer if the directory has one. Prompts of token ids need none.
struct SamplingModel {
  // Prints the model's warnings.
  static SamplingModel load(const CommonOptions& common, const std::filesystem::path& directory,
                            WeightUse use = WeightUse::inference);
  // Loads the MTP head as well if --lookahead asks for guesses and the checkpoint has one.
  static SamplingModel load_guessing(const CommonOptions& common, const std::filesystem::path& directory) {
    return load(common, directory, common.lookahead > 0 ? WeightUse::guessing : WeightUse::inference);
  }

  const Model& model() const { return bundle ? bundle->model : *bare; }
  const ModelBundle& tokenized() const;  // throws Error if there is no tokenizer
  // Returns the text without special tokens; "" without a tokenizer.
  std::string text_of(std::span<const int32_t> tokens) const;

  std::filesystem::path directory;
  Numerics numerics = Numerics::cpu_f32;
  std::optional<ModelBundle> bundle;
  std::optional<Model> bare;
  SamplingParams sampling;
  std::vector<int32_t> stop_tokens;
  int64_t max_tokens = 0;  // the model's own limit; 0: it has none
};

// Returns the settings that the flags give, and the model's defaults for flags that are not given. Throws
// Error for an invalid value.
SamplingSettings sampling_settings(const SamplingFlags& flags, const SamplingParams& defaults,
                                   int64_t max_tokens);
// Returns a request with these settings. Prompt, samples and key are left to the caller.
Request base_request(const SamplingFlags& flags, const SamplingParams& defaults,
                     const std::vector<int32_t>& stop_tokens, int64_t max_tokens);
inline constexpr int64_t kDefaultMaxTokens = 1024;  // used if max_tokens is 0

// Throws Error "--batch is 0; it must be at least 1" if `value` is less than `low`.
void check_at_least(std::string_view option, int64_t value, int64_t low);

// Reads a JSON array of token ids. Throws Error at a bad item.
std::vector<int32_t> read_token_ids(const Json& array);

// Throws Error if the prompt has tokens outside the model's vocabulary or leaves no room for an answer.
void check_prompt(const Model& model, std::span<const int32_t> tokens, const std::string& what);

}  // namespace r1
