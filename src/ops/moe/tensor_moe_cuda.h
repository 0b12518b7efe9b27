// ops/moe/tensor_moe_cuda.h: the experts of cuda-bf16, on tensor cores. Private to this folder.
//
// Rows of x, gate, up, h = silu(gate) * up, and the gradients of gate, up and y are rounded to bf16, as every product's
// operand is; an expert's output, y and dx are f32. A gradient of an expert's matrix is one chain that goes on from what
// it held: for every family of the batch in order, the expert's rows of the family in steps of 16, the last filled up
// with rows that are not there. It does not depend on which families run together.
#pragma once

#include "ops/moe/moe_backend.h"

namespace r1::cuda {

// True if the experts run here.
inline bool tensor_experts(const Context& ctx) {
  return ctx.row().product == Product::tensor_bf16;
}
// The router's scores before they are scored: r.scores = x times its matrix, transposed. x [T, D], bf16 or f32.
void tensor_router(Context& ctx, const Weight& router, const Tensor& x, float* scores);
// Adds dlogits^T x to the router's gradient.
void tensor_router_gradient(Context& ctx, const Weight& router, const float* dlogits, const Tensor& x);
void tensor_experts_forward(Context& ctx, const MoeForward& call);
// drow [A T], by row: the gradients of the slots' weights. call.dy is there.
void tensor_experts_backward(Context& ctx, const MoeBackward& call, float* drow);

}  // namespace r1::cuda
