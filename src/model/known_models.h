// model/known_models.h: the published sizes of DeepSeek-R1 and its six distills, so that `r1 plan` answers
// before anything is downloaded.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace r1 {

// The config of a model of the hub by its name, in any case, with or without "deepseek-ai/". No value for
// others.
std::optional<ModelConfig> known_model(std::string_view name);
std::vector<std::string> known_model_names();  // "deepseek-ai/DeepSeek-R1", ...

}  // namespace r1
