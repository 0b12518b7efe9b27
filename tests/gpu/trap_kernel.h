// tests/gpu/trap_kernel.h: a kernel that fails, as a defective GPU would.
#pragma once

namespace r1::test {

// No call of this process can use the GPU after it. Returns before the kernel has run.
void lose_device(void* stream);

}  // namespace r1::test
