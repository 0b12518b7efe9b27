// model/config_fields.h: how fields of config.json are read and written. Private to model/.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/config.h"

namespace r1 {

inline constexpr int64_t kMaxSize = int64_t{1} << 30;  // keeps every product of two sizes inside int64
inline constexpr int64_t kMaxLayers = int64_t{1}
                                      << 20;  // and layers times experts far from what a loop can't count
inline constexpr int64_t kMaxExperts = int64_t{1} << 16;

// The field; nullptr if it is missing or null.
const Json* given_field(const Json& json, std::string_view key);
// An error about a field that may be absent; its value is then transformers' default.
[[noreturn]] void fail_field(const Json& json, std::string_view key, int64_t value, std::string_view reason);

// Whole numbers. Each throws Error "FILE: KEY is 0; it must be between 1 and 8".
int64_t whole_field(const Json& field, int64_t low, int64_t high);
int64_t whole_field_or(const Json& json, std::string_view key, int64_t fallback, int64_t low, int64_t high);
// A size that the weights show as well; an assumed one is listed in config.assumed.
int64_t size_field(const Json& json, std::string_view key, int64_t fallback, ModelConfig& config,
                   int64_t most = kMaxSize);
// A number from 0 to limit that is kept as f32; 1e300 would not fit.
float small_field_or(const Json& json, std::string_view key, double fallback, double limit);

// The shortest decimal number for an f32, as a person would write it: 1e-6, not 9.99999997e-7.
double shortest_decimal(float value);

// config_experts.cc: the experts of config.family. Throws Error.
void read_expert_fields(const Json& json, ModelConfig& config);
void write_expert_fields(const ModelConfig& config, Json& json);

}  // namespace r1
