// model/prediction.h: multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2): modules behind the
// last layer, which guess further tokens. The first is the MTP head. With h_t, the output of Model::forward()
// at position t, and token t + 1, it guesses token t + 2:
//
//   x = eh_proj [enorm(embedding of token t + 1), hnorm(h_t)]        x' = layer(x), with keys of its own
//   logits = head(shared_head.norm(x'))
//
// As in vLLM and SGLang, the token's half comes first, although the report prints it second, and keys and rotary
// positions are those of t. h_t is the output of the model's last norm; the report does not say whether it is. The
// embedding and the head are the model's. A checkpoint may have copies of both (model.layers.N.embed_tokens, shared_head.head), which the
// release notes of the weights call shared; they are kept when a directory is converted, and not read.
//
// A guess changes the time of an answer and none of its bits (engine/lookahead.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/config.h"

namespace r1 {

class WeightSource;

// N of "model.layers.N.REST"; -1 for any other name.
int64_t layer_of(std::string_view name);

enum class Predictions : uint8_t { head, all };  // the first module; all of them, with their copies of tables

// Makes the modules of a checkpoint part of its model: sets prediction_layers and the flags beside it. If the
// config declares modules and the weights have none, as in files that transformers has written, the model has
// none, and with Predictions::head a line in config.warnings says so. `source` is the config's file.
void take_prediction_layers(ModelConfig& config, const WeightSource& weights, Predictions which,
                            const std::string& source);

}  // namespace r1
