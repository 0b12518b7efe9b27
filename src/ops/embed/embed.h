// ops/embed/embed.h: token embedding, y[t] = table[tokens[t]]. y is a copy in f32 (in the bf16 numerics, of
// the rounded table), where the residual stream begins. The backward adds rows in the order of t.
#pragma once

#include <cstdint>
#include <span>

#include "ops/matmul/weight.h"
#include "tensor/context.h"

namespace r1 {

// tokens [T] in [0, V), table [V, D] -> [T, D]. The table may also be a factor (a tied head). A token out of
// range is a broken invariant; callers check first. The backward reads `tokens` again, so they must outlive
// it, and so must the table's parameter.
Tensor embed(Context& ctx, std::span<const int32_t> tokens, const Weight& table);

}  // namespace r1
