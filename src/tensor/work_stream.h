// tensor/work_stream.h: the stream of a device's work.
#pragma once

#include "tensor/memory.h"

namespace r1 {

// The stream on which all work on a device's memory runs, one after the other (a cudaStream_t); null on the
// host. Copies without a stream wait for it, and it waits for them.
void* work_stream(const Memory& memory);

#if defined(R1_CUDA)
namespace cuda {
// Returns the stream of the CUDA device. It is made at the first call and never destroyed.
void* work_stream();
}  // namespace cuda
#endif

}  // namespace r1
