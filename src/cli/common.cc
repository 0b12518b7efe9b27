#include "cli/common.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <mutex>

#include "base/error.h"
#include "base/machine.h"
#include "base/text_util.h"
#include "cli/bounds.h"
#include "cli/gpu_room.h"
#include "cli/output.h"
#include "engine/find_model.h"
#include "engine/generation_config.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_file.h"
#include "formats/hub_name.h"
#include "model/gguf_config.h"
#include "model/quantize_plan.h"
#include "tensor/gpu.h"
#include "text/think.h"
#include "text/tiktoken_file.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

int64_t half_of_rest_of(const CommonOptions& common, const Model& model, Numerics numerics) {
  const int64_t limit = memory_limit(common);
  if (limit == 0) return 0;
  const int64_t copies = model.frozen() ? 1 : 2;  // the kernels keep their own layout
  const int64_t weights = model.weight_bytes(row_of(numerics).product == Product::q8act) * copies;
  const int64_t half = (limit - weights) / 2;
  if (half < (int64_t{1} << 20)) {
    throw Error(fmt::format(
        "--memory-limit {}: the model's weights alone need {} MiB, and some MiB more are needed to run",
        common.memory_limit, (weights >> 20) + 1));
  }
  return half;
}

double checked(std::string_view option, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw Error(fmt::format("{} is {}; it must be between {} and {}", option, value, low, high));
  return value;
}

void set_if_given(const std::optional<double>& flag, std::string_view option, const SamplingBounds& bounds,
                  float& setting) {
  if (flag) setting = static_cast<float>(checked(option, *flag, bounds.low, bounds.high));
}

}  // namespace

fs::path resolve_model(const std::string& name) {
  std::error_code none;
  if (!name.empty() && fs::is_directory(name, none)) return name;
  if (is_gguf(name)) return name;
  if (name.ends_with(".gguf")) throw Error(name + ": no such file");
  if (!name.empty() && fs::exists(name, none)) {
    throw Error(name + ": is a file; a model is a directory with config.json and model.safetensors, or a " +
                "GGUF file");
  }
  const std::string wanted = name.empty() ? kDefaultModel : name;
  if (const auto found = find_model(wanted)) return *found;
  if (const auto hub = read_hub_name(wanted))
    throw Error(fmt::format(
        "{}: no such folder is here, and no such model is in the cache; download it with: r1 pull {}", wanted,
        hub->text()));
  const std::vector<std::string> shipped = shipped_models();
  const std::string near = nearest_name(wanted, shipped);
  throw Error(fmt::format(
      "{}: is neither a directory nor a shipped model{}; shipped: {}; for any other model, "
      "give its directory, its .gguf file, or its name on the hub, org/name, after r1 pull org/name",
      wanted, near.empty() ? "" : " (did you mean " + near + "?)",
      shipped.empty() ? "none here" : fmt::format("{}", fmt::join(shipped, ", "))));
}

int64_t parse_size(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  std::string_view unit(rest, static_cast<size_t>(end - rest));
  if (unit.ends_with("iB")) {
    unit.remove_suffix(2);
  } else if (unit.ends_with("B")) {
    unit.remove_suffix(1);
  }
  constexpr std::string_view kUnits = "KMGT";
  const size_t power = unit.empty() ? 0 : kUnits.find(static_cast<char>(unit[0] & ~0x20)) + 1;
  const double bytes = std::ldexp(value, 10 * static_cast<int>(power));
  if (problem != std::errc() || unit.size() > 1 || (!unit.empty() && power == 0) ||
      !(bytes >= 1 && bytes < 0x1p62)) {
    throw Error(fmt::format("\"{}\" is no size: write 2G, 512M or 1.5GiB", text));
  }
  return static_cast<int64_t>(bytes);
}

namespace {

// The numerics with keys and values of the type that --kv-type names, if it is given.
Numerics with_kv_type(const CommonOptions& common, Numerics numerics) {
  if (common.kv_type.empty()) return numerics;
  try {
    return with_cache(numerics, common.kv_type);
  } catch (const Error& e) {
    throw Error(fmt::format("--kv-type {}: {}", common.kv_type, e.what()));
  }
}

void check_kv_type(const CommonOptions& common, Device device) {
  with_kv_type(common, Numerics::cpu_f32);  // throws for an unknown type
  if (device != Device::cpu)
    throw Error(
        fmt::format("--kv-type {}: a GPU keeps keys and values in the numerics' own type: use --device cpu",
                    common.kv_type));
  if (common.numerics.empty()) return;
  const Numerics numerics = numerics_from_name(common.numerics);
  if (row_of(numerics).base != numerics && with_kv_type(common, numerics) != numerics)
    throw Error(
        fmt::format("--numerics {} has its own type of keys and values, which --kv-type {} is not: give "
                    "one of the two",
                    common.numerics, common.kv_type));
  with_kv_type(common, numerics);
}

}  // namespace

void check_common(const CommonOptions& common) {
  const Device device = device_memory(common).device();
  if (!common.dtype.empty() && common.dtype != "f32" && common.dtype != "bf16")
    throw Error("--dtype " + common.dtype + ": unknown: this build has f32, bf16");
  if (!common.numerics.empty()) {
    const Numerics numerics = numerics_from_name(common.numerics);
    check_device(numerics, device);
    if (!common.dtype.empty() && row_of(numerics).product == Product::q8act)
      throw Error(
          fmt::format("--numerics {} computes with the quantised weights, and --dtype {} dequantises "
                      "them: give one of the two",
                      common.numerics, common.dtype));
    const std::string_view dtype = name_of(activation_dtype(numerics));
    if (!common.dtype.empty() && common.dtype != dtype)
      throw Error(fmt::format("--numerics {} computes in {}, not in --dtype {}: give one of the two",
                              common.numerics, dtype, common.dtype));
  }
  constexpr int64_t kMostThreads = 1024;
  check_between("--lookahead", common.lookahead, 0, 64);
  if (common.threads < 0 || common.threads > kMostThreads) {
    throw Error(fmt::format("--threads is {}; it must be between 1 and {} (0: all that there are)",
                            common.threads, kMostThreads));
  }
  memory_limit(common);
  if (!common.kv_type.empty()) check_kv_type(common, device);
  if (!common.quantize.empty()) quantize_preset(common.quantize, "--quantize");
}

void check_training(const CommonOptions& common) {
  check_common(common);
  if (!common.dtype.empty() || !common.numerics.empty())
    throw Error(
        "--dtype and --numerics: a training's are in its configuration: numerics = \"cpu-bf16\", or, on a "
        "GPU, "
        "\"cuda-bf16\" (--set numerics=cuda-bf16)");
  if (!common.kv_type.empty())
    throw Error("--kv-type: a training keeps keys and values in the type of its activations; leave it out");
}

int64_t memory_limit(const CommonOptions& common) {
  return common.memory_limit.empty() ? 0 : parse_size(common.memory_limit);
}

void show_warnings(std::span<const std::string> lines) {
  for (const std::string& line : lines) write_stderr(fmt::format("r1: {}\n", line));
}

void show_model(const CommonOptions& common, const fs::path& directory) {
  const std::string path = directory.string();
  write_stdout((common.json ? Json::object().set("model", path).dump() : path) + "\n");
}

namespace {

// The device of a command that names none: the GPU if there is one that runs what was asked for.
Device device_for(const CommonOptions& common) {
  if (!common.kv_type.empty()) return Device::cpu;  // on a GPU, they have the activations' type
  if (!common.numerics.empty()) {
    const NumericsRow& row = row_of(numerics_from_name(common.numerics));
    if (row.device == Device::cuda) return Device::cuda;
    if (row.id != Numerics::cpu_f32) return Device::cpu;
  }
  static std::once_flag once;
  if (find_gpu().broken) {
    std::call_once(once, [] {
      const std::string line = fmt::format("runs on the CPU: {}", find_gpu().reason);
      show_warnings({&line, 1});
    });
  }
  return preferred_device();
}

}  // namespace

Device device_of(const CommonOptions& common) {
  if (common.device.empty()) return device_for(common);
  try {
    return device_from_name(common.device);
  } catch (const Error& e) {
    throw Error(fmt::format("--{}", e.what()));
  }
}

Memory& device_memory(const CommonOptions& common) {
  try {
    return memory_of(device_of(common));
  } catch (const Error& e) {
    throw Error(fmt::format("--device {}: {}", common.device.empty() ? "cuda" : common.device, e.what()));
  }
}

int64_t usable_memory(const CommonOptions& common) {
  if (const int64_t limit = memory_limit(common); limit > 0) return limit;
  if (Memory& device = device_memory(common); device.device() != Device::cpu)
    return static_cast<int64_t>(device.free_bytes());
  const int64_t free = memory_facts().available, group = cgroup_limits().memory;
  return group > 0 ? std::min(group, free) : free;
}

std::string_view machine_name(const Json& json) {
  return json.get_string("device") == "cpu" ? "machine" : "GPU";
}

std::string_view bandwidth_name(const Json& json) {
  return json.get_string("device") == "cpu" ? "read from memory" : "read and written by a copy";
}

int thread_count(const CommonOptions& common) {
  return common.threads > 0 ? static_cast<int>(common.threads) : available_threads();
}

namespace {

// A checkpoint of 16 bits has a second numerics on some machines, which the user may want to know of; and a GPU that was
// not asked for has other bits than the CPU.
void show_default(Numerics numerics, bool chose_gpu) {
  static std::once_flag once;
  if (!chose_gpu && row_of(numerics).base == Numerics::cpu_f32) return;
  std::call_once(once, [=] {
    if (chose_gpu) {
      const std::string line = fmt::format("numerics {} on {}; --device cpu runs on the CPU",
                                           name_of(numerics), find_gpu().found->name);
      return show_warnings({&line, 1});
    }
    if (row_of(numerics).product == Product::q8act) {
      const std::string line =
          fmt::format("numerics {}: the quantised weights as they are; --dtype f32 or bf16 dequantises them",
                      name_of(numerics));
      return show_warnings({&line, 1});
    }
    const bool faster = row_of(numerics).product == Product::bf16 && machine_has(Numerics::cpu_avx512bf16);
    const std::string line =
        fmt::format("numerics {}{}", name_of(numerics),
                    faster ? fmt::format("; --numerics {} is faster here, and its bits differ",
                                         name_of(Numerics::cpu_avx512bf16))
                           : "");
    show_warnings(std::vector{line});
  });
}

}  // namespace

namespace {

// A GGUF file of this type is computed in bf16 by default (read_model_config).
bool is_bf16_file(const QuantizePreset& preset) {
  return preset.type != GgufType::f32 && preset.type != GgufType::f16;
}

}  // namespace

Numerics choose_numerics(const CommonOptions& common, const fs::path& model, const ModelConfig& config,
                         bool full) {
  if (!common.numerics.empty()) return with_kv_type(common, numerics_from_name(common.numerics));
  const bool bf16 = !common.dtype.empty()      ? common.dtype == "bf16"
                    : !common.quantize.empty() ? is_bf16_file(quantize_preset(common.quantize, "--quantize"))
                                               : config.dtype == DType::bf16;
  const Device device = device_of(common);
  const bool blocks = !common.quantize.empty()
                          ? is_blocks(*format_of(quantize_preset(common.quantize, "--quantize").type))
                          : common.dtype.empty() && is_gguf(model) && has_quantised_matrices(GgufFile(model));
  const bool quantised = blocks && !full && device == Device::cpu && common.dtype.empty();
  const Numerics numerics = with_kv_type(
      common, quantised ? kQuantisedNumerics : default_numerics(bf16 ? DType::bf16 : DType::f32, device));
  show_default(numerics, device == Device::cuda && common.device.empty());
  return numerics;
}

Numerics numerics_to_load(const CommonOptions& common, const fs::path& model, bool full) {
  const ModelConfig config = load_model_config(model);
  const Numerics numerics = choose_numerics(common, model, config, full);
  check_gpu_room(common, model, config, numerics);
  return numerics;
}

Runtime::Runtime(const CommonOptions& common, const Model& model, Numerics numerics)
    : half_of_rest(half_of_rest_of(common, model, numerics)),
      threads(thread_count(common)),
      work(threads, numerics, model.memory(), arena_limit()) {}

namespace {

bool has_tokenizer(const fs::path& model) {
  if (is_gguf(model)) {
    const GgufFile file(model);  // "no_vocab" is GGUF's name for none
    return file.metadata().get_string_or("tokenizer.ggml.model", "no_vocab") != "no_vocab";
  }
  return fs::exists(model / "tokenizer.json") || has_tiktoken_file(model);
}

}  // namespace

SamplingModel SamplingModel::load(const CommonOptions& common, const fs::path& directory, WeightUse use) {
  SamplingModel out;
  out.directory = directory;
  out.numerics = numerics_to_load(common, directory);
  const DType matrices = activation_dtype(out.numerics);
  if (has_tokenizer(directory)) {
    out.bundle = ModelBundle::load(directory, matrices, use, device_memory(common), common.quantize);
    out.sampling = out.bundle->sampling;
    out.stop_tokens = out.bundle->stop_tokens;
    out.max_tokens = out.bundle->max_tokens;
    show_warnings(out.bundle->warnings);
    return out;
  }
  out.bare = Model::load(directory, matrices, use, device_memory(common), common.quantize);
  const ModelConfig& config = out.bare->config();
  const GenerationConfig generation = load_generation_config(directory, config.vocab_size);
  out.sampling = generation.sampling;
  out.max_tokens = generation.max_new_tokens;
  out.stop_tokens = generation.eos_token_ids;
  for (const int32_t id : config.eos_token_ids) {
    if (std::ranges::find(out.stop_tokens, id) == out.stop_tokens.end()) out.stop_tokens.push_back(id);
  }
  show_warnings(out.bare->warnings());
  show_warnings(generation.warnings);
  return out;
}

const ModelBundle& SamplingModel::tokenized() const {
  if (!bundle)
    throw Error(fmt::format("{}: has no {}: give token ids (\"tokens\", --prompt-tokens)", directory.string(),
                            is_gguf(directory) ? "tokenizer" : "tokenizer.json"));
  return *bundle;
}

std::string SamplingModel::text_of(std::span<const int32_t> tokens) const {
  return bundle ? response_text(bundle->tokenizer, tokens) : "";
}

void check_at_least(std::string_view option, int64_t value, int64_t low) {
  if (value < low) throw Error(fmt::format("{} is {}; it must be at least {}", option, value, low));
}

SamplingSettings sampling_settings(const SamplingFlags& flags, const SamplingParams& defaults,
                                   int64_t max_tokens) {
  SamplingSettings settings{.params = defaults};
  SamplingParams& sampling = settings.params;
  set_if_given(flags.temperature, "--temperature", kTemperatureBounds, sampling.temperature);
  if (flags.top_p && !(*flags.top_p > 0 && *flags.top_p <= 1))
    throw Error(fmt::format("--top-p is {}; it must be more than 0 and at most 1", *flags.top_p));
  set_if_given(flags.top_p, "--top-p", kShareBounds, sampling.top_p);
  set_if_given(flags.min_p, "--min-p", kShareBounds, sampling.min_p);
  set_if_given(flags.repetition_penalty, "--repetition-penalty", kRepetitionBounds,
               sampling.repetition_penalty);
  set_if_given(flags.presence_penalty, "--presence-penalty", kPenaltyBounds, sampling.presence_penalty);
  set_if_given(flags.frequency_penalty, "--frequency-penalty", kPenaltyBounds, sampling.frequency_penalty);
  if (flags.top_k) {
    check_at_least("--top-k", *flags.top_k, 0);
    sampling.top_k = *flags.top_k;
  }
  if (flags.max_tokens) {
    check_at_least("--max-tokens", *flags.max_tokens, 1);
    settings.max_tokens = *flags.max_tokens;
    sampling.max_length = 0;
  } else if (max_tokens > 0) {
    settings.max_tokens = max_tokens;
  } else {
    settings.max_tokens = sampling.max_length > 0 ? sampling.max_length : kDefaultMaxTokens;
  }
  return settings;
}

Request base_request(const SamplingFlags& flags, const SamplingParams& defaults,
                     const std::vector<int32_t>& stop_tokens, int64_t max_tokens) {
  Request request = sampling_settings(flags, defaults, max_tokens).request({.seed = flags.seed});
  if (!flags.ignore_eos) request.stop_tokens = stop_tokens;
  return request;
}

std::vector<int32_t> read_token_ids(const Json& array) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const Json& item : array.items()) {
    const int64_t id = item.integer();
    if (id < 0 || id > INT32_MAX) item.fail(fmt::format("is {}, which is no token id", id));
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

void check_prompt(const Model& model, std::span<const int32_t> tokens, const std::string& what) {
  check_tokens(model.config(), tokens, what);
  if (static_cast<int64_t>(tokens.size()) >= model.config().max_positions) {
    throw Error(
        fmt::format("{}: is {} tokens long and leaves no room for an answer in the model's context of {}",
                    what, tokens.size(), model.config().max_positions));
  }
}

}  // namespace r1
