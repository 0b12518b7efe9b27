// tensor/cuda_times.h: times of the kernels of a CUDA device. Private to tensor/.
#pragma once

#include "tensor/kernel_times.h"

namespace r1::cuda {

std::vector<KernelTime> time_kernels(const std::function<void()>& work);
// Called after every launch.
void note_launch(const char* kernel);

}  // namespace r1::cuda
