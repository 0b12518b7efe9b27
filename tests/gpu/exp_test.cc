// tests/gpu/exp_test.cc: the device's exp has the bits of ops/simd/exp.h.
#include "ops/simd/exp_vector.h"
#include "tests/gpu/device.h"
#include "tests/gpu/exp_kernel.h"

namespace r1 {
namespace {
using namespace test;

class CudaExp : public OnDevice {};

// Every 61st float of all 2^32, with NaNs, infinities and denormals.
TEST_F(CudaExp, HasTheBitsOfTheCpu) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 61)
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  std::vector<float> want(x.size());
  exp_array(x.data(), std::ssize(x), want.data());
  const cuda::Stream stream;
  const DeviceFloats in(x), out(std::ssize(x));
  exp_on_device(in.data(), std::ssize(x), out.data(), stream.get());
  expect_cpu_bits(out.values(stream), want, "exp");
}

}  // namespace
}  // namespace r1
