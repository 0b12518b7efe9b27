#include "base/normal_numbers.h"

#include <cmath>

#include "base/math.h"
#include "base/random.h"

namespace r1 {
namespace {

// [0, 1), 53 bits.
double unit_from_bits(uint64_t high, uint64_t low) {
  return static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
}

}  // namespace

double normal_from_bits(const std::array<uint32_t, 4>& bits) {
  const double u = 1.0 - unit_from_bits(bits[0], bits[1]);  // (0, 1]
  double sine = 0, cosine = 0;
  exact_sincos(6.283185307179586 * unit_from_bits(bits[2], bits[3]), &sine, &cosine);
  return std::sqrt(-2.0 * exact_log(u)) * cosine;
}

void normal_numbers(const NormalStream& stream, double scale, std::span<float> to) {
  const std::array<uint32_t, 2> key{static_cast<uint32_t>(stream.seed),
                                    static_cast<uint32_t>(stream.seed >> 32)};
  for (size_t i = 0; i < to.size(); ++i) {
    const auto bits =
        philox({static_cast<uint32_t>(stream.first + i), 0, static_cast<uint32_t>(stream.stream),
                static_cast<uint32_t>(stream.stream >> 32)},
               key);
    to[i] = static_cast<float>(normal_from_bits(bits) * scale);
  }
}

}  // namespace r1
