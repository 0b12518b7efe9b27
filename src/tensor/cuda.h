// tensor/cuda.h: the process's one CUDA device: its memory, streams and errors. In builds with R1_CUDA only.
//
// Streams are cudaStream_t, passed as void* so that plain C++ can hold them; null is the default stream.
#pragma once

#include <cstddef>
#include <string>

#include "tensor/memory.h"

namespace r1 {

// The memory of CUDA device 0. reserve() takes addresses alone and commit() maps memory behind them, in
// pieces of at least kCudaPiece bytes. Any thread may use it. Throws Error if there is no device that this
// build can use, or if the device has too little memory.
Memory& cuda_memory();
inline constexpr size_t kCudaPiece = size_t{16} << 20;

namespace cuda {

struct DeviceFacts {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t bytes = 0, free = 0;  // of memory; `free` as of now
  int driver = 0;              // the newest CUDA that the driver supports, 13000 for 13.0
};
// Throws Error if there is no device that this build can use: it says what is missing.
DeviceFacts device_facts();
// The multiprocessors of the device, without asking it each time.
int multiprocessors();
// True if kernels can start before the one ahead of them has ended (tensor/early_launch_cuda.cuh).
bool starts_early();

// Throws Error if `status`, a cudaError_t, is not success.
void check(int status, const char* call);
// Throws Error if the last launch on this thread was refused. Goes after each <<<>>>.
void check_launch(const char* kernel);

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  void* get() const { return stream_; }
  // Waits for everything on this stream. Throws Error if a kernel failed.
  void wait() const;

 private:
  void* stream_ = nullptr;
};

}  // namespace cuda
}  // namespace r1
