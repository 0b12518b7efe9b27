// ops/simd/machine_limits.h: what a device can do at most, measured: bytes per second from its memory, and
// operations per second of the units that a numerics' products use.
#pragma once

#include <cstdint>

#include "base/threads.h"
#include "tensor/memory.h"
#include "tensor/numerics.h"

namespace r1 {

// Bytes per second. Of the host: bytes read, by all threads together. Of a GPU: bytes read and written by a copy.
// It takes at most `most` bytes of memory, and no more than it needs. Throws Error if there is too little memory.
double bandwidth_limit(Memory& memory, ThreadPool& threads, int64_t most);
// Operations per second of the units for this numerics' products: of f32, of bf16, or of int8 summed in int32. A
// multiplication and its addition are two.
double operations_limit(const Memory& memory, Numerics numerics, ThreadPool& threads);

#if defined(R1_CUDA)
namespace cuda {
double copy_limit(int64_t bytes);  // bytes per second
double fma_limit();                // operations per second in f32
double tensor_limit();             // in bf16, by mma.sync
}  // namespace cuda
#endif

}  // namespace r1
