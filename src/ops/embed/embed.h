// ops/embed/embed.h: token embedding, y[t] = table[tokens[t]]: a copy in f32, where the residual stream
// begins (bf16 numerics: of the rounded table). Backward adds rows in the order of t.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

// tokens [T] in [0, V), table [V, D] -> [T, D]. A token out of range is a broken invariant (callers check
// first). The backward reads `tokens` again: they must outlive it.
Tensor embed(Context& ctx, std::span<const int32_t> tokens, Parameter& table);

}  // namespace r1
