// ops/backend.h: how an op picks its backend.
//
// An op is one folder of files:
//
//   <op>.h          the contract
//   <op>.cc         checks, makes the output, records the backward on the tape, and picks the backend
//   <op>_backend.h  what a backend must offer: the same functions in namespaces cpu and cuda; private
//   <op>_cpu.cc     the kernels of the CPU (Highway) and nothing else; <op>_cuda.cu those of CUDA
//   <op>_ref.cc     the oracle of the tests
//
// A backend's function takes a Context and one struct of arguments, as in ops/norm. It takes its scratch from
// ctx.arena and its task lists from ctx.host(), and then launches its kernels. While a step's memory is
// measured (Context::measuring), it takes the same memory and launches nothing: ctx.threads then runs
// nothing, and every other access to a tensor's memory stands behind `if (ctx.measuring) return`.
#pragma once

#include "base/error.h"
#include "tensor/context.h"

// R1_BACKEND(ctx, f, call) calls cpu::f(ctx, call) or cuda::f(ctx, call); R1_CPU_BACKEND is for ops without
// CUDA kernels.
#if defined(R1_CUDA)
#define R1_BACKEND(ctx, function, call) \
  ((ctx).device == ::r1::Device::cuda ? cuda::function((ctx), (call)) : cpu::function((ctx), (call)))
#else
#define R1_BACKEND(ctx, function, call) R1_CPU_BACKEND(ctx, function, call)
#endif
#define R1_CPU_BACKEND(ctx, function, call) \
  (::r1::require_cpu((ctx), #function), cpu::function((ctx), (call)))

namespace r1 {

inline void require_cpu(const Context& ctx, const char* function) {
  if (ctx.device != Device::cpu) throw Error(std::string(function) + " has no CUDA kernel: use --device cpu");
}

}  // namespace r1
