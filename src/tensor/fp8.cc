#include "tensor/fp8.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/integers.h"

namespace r1 {
namespace {

constexpr int64_t kCodesAtATime = 16384;  // on the stack

// Moving a code's bits into f32's fields leaves the exponent 120 too small, also of the smallest numbers.
inline float widen_code(uint8_t code) {
  const uint32_t sign = (code & 0x80u) << 24, rest = (code & 0x7Fu) << 20;
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p120f);
  return std::bit_cast<float>(sign | (rest == 0x07F00000u ? 0x7FC00000u : scaled));
}

void read_codes(const Stored& stored, int64_t first, std::span<float> to) {
  std::array<std::byte, kCodesAtATime> codes;
  for (size_t at = 0; at < to.size();) {
    const size_t n = std::min(codes.size(), to.size() - at);
    const auto part = std::span(codes).first(n);
    stored.read_raw(first + static_cast<int64_t>(at), part);
    widen_e4m3(part, to.subspan(at, n));
    at += n;
  }
}

}  // namespace

void widen_e4m3(std::span<const std::byte> from, std::span<float> to) {
  R1_CHECK(from.size() == to.size(), from.size(), " codes, ", to.size(), " numbers");
  for (size_t i = 0; i < to.size(); ++i) to[i] = widen_code(std::to_integer<uint8_t>(from[i]));
}

void read_fp8(const Stored& stored, int64_t first, std::span<float> to) {
  R1_CHECK(stored.shape.rank() == 2 && stored.scales != nullptr, stored.name, " ", stored.shape.str());
  read_codes(stored, first, to);
  const int64_t K = stored.shape[1], blocks = ceil_div(K, kFp8Block);
  const int64_t end = first + static_cast<int64_t>(to.size());
  std::vector<float> scales(static_cast<size_t>(blocks));
  int64_t held = -1;  // the row of blocks whose scales these are
  for (int64_t at = first; at < end;) {
    const int64_t row = at / K, column = at % K;
    if (row / kFp8Block != held) {
      held = row / kFp8Block;
      stored.scales->read(held * blocks, scales);
    }
    const int64_t stop = std::min({end, (row + 1) * K, at + kFp8Block - column % kFp8Block});
    const float scale = scales[static_cast<size_t>(column / kFp8Block)];
    for (float& value : to.subspan(static_cast<size_t>(at - first), static_cast<size_t>(stop - at)))
      value *= scale;
    at = stop;
  }
}

void check_fp8_scales(const Stored& stored) {
  const Stored& scales = *stored.scales;
  std::array<float, 4096> piece;
  for (int64_t at = 0; at < scales.count();) {
    const auto n = static_cast<size_t>(std::min<int64_t>(std::ssize(piece), scales.count() - at));
    const auto values = std::span(piece).first(n);
    scales.read(at, values);
    const auto bad = std::ranges::find_if(values, [](float v) { return !(v > 0.0f && std::isfinite(v)); });
    if (bad != values.end()) {
      const int64_t flat = at + (bad - values.begin()), columns = scales.shape[1];
      throw Error(scales.owner->path() + ": tensor " + scales.name + " is " +
                  (std::isnan(*bad)   ? "NaN"
                   : std::isinf(*bad) ? "infinite"
                   : *bad == 0.0f     ? "0"
                                      : "negative") +
                  " at [" + std::to_string(flat / columns) + ", " + std::to_string(flat % columns) +
                  "]; a scale must be a positive number: the weights are damaged");
    }
    at += static_cast<int64_t>(n);
  }
}

}  // namespace r1
