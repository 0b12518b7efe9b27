// ops/embed/embed.h: token embedding, y[t] = table[tokens[t]]. y is a copy in f32 (in the bf16 numerics, of
// the rounded table), where the residual stream begins. The backward adds rows in the order of t.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/context.h"
#include "tensor/parameter.h"

namespace r1 {

// tokens [T] in [0, V), table [V, D] -> [T, D]. A token out of range is a broken invariant; callers check
// first. The backward reads `tokens` again, so they must outlive it.
Tensor embed(Context& ctx, std::span<const int32_t> tokens, Parameter& table);

}  // namespace r1
