// ops/matmul/quant_pack.cc: the file's blocks in panels, and back.
#include <cstring>

#include "base/error.h"
#include "base/integers.h"
#include "ops/matmul/quant_unpack.h"
#include "tensor/blocks.h"

namespace r1 {
namespace {

constexpr QuantTraits kTraits[] = {
    // format, block, sub, scaled, minimum, offset, bits
    // clang-format off
    {Format::q4_0, 32, 32, false, false, 8, 4},
    {Format::q4_1, 32, 32, false, true, 0, 4},
    {Format::q5_0, 32, 32, false, false, 16, 5},
    {Format::q5_1, 32, 32, false, true, 0, 5},
    {Format::q8_0, 32, 32, false, false, 128, 8},
    {Format::iq4_nl, 32, 32, false, false, 128, 8},
    {Format::q2_k, 256, 16, true, true, 0, 4},
    {Format::q3_k, 256, 16, true, false, 4, 4},
    {Format::q4_k, 256, 32, true, true, 0, 4},
    {Format::q5_k, 256, 32, true, true, 0, 5},
    {Format::q6_k, 256, 16, true, false, 32, 6},
    {Format::iq4_xs, 256, 32, true, false, 128, 8},
    {Format::iq2_xxs, 256, 32, true, false, 128, 8},
    {Format::iq2_xs, 256, 16, true, false, 128, 8},
    {Format::iq2_s, 256, 16, true, false, 128, 8},
    {Format::iq3_xxs, 256, 32, true, false, 128, 8},
    {Format::iq3_s, 256, 32, true, false, 128, 8},
    // clang-format on
};

// The order is that of quant_unpack_cpu.cc: numbers, more bits of them, scales, d, and dmin or m.
QuantParts parts_of(Format format) {
  switch (format) {
    case Format::q4_0:
    case Format::iq4_nl:
      return {{{2, 16, 4}, {0, 2, 2}}, 2};
    case Format::q4_1:
      return {{{4, 16, 4}, {0, 2, 2}, {2, 2, 2}}, 3};
    case Format::q5_0:
      return {{{6, 16, 4}, {2, 4, 4}, {0, 2, 2}}, 3};
    case Format::q5_1:
      return {{{8, 16, 4}, {4, 4, 4}, {0, 2, 2}, {2, 2, 2}}, 4};
    case Format::q8_0:
      return {{{2, 32, 4}, {0, 2, 2}}, 2};
    case Format::q2_k:
      return {{{16, 64, 4}, {0, 16, 4}, {80, 2, 2}, {82, 2, 2}}, 4};
    case Format::q3_k:
      return {{{32, 64, 4}, {0, 32, 4}, {96, 12, 4}, {108, 2, 2}}, 4};
    case Format::q4_k:
      return {{{16, 128, 4}, {4, 12, 4}, {0, 2, 2}, {2, 2, 2}}, 4};
    case Format::q5_k:
      return {{{48, 128, 4}, {16, 32, 4}, {4, 12, 4}, {0, 2, 2}, {2, 2, 2}}, 5};
    case Format::q6_k:
      return {{{0, 128, 4}, {128, 64, 4}, {192, 16, 4}, {208, 2, 2}}, 4};
    case Format::iq4_xs:
      return {{{8, 128, 4}, {4, 4, 4}, {2, 2, 2}, {0, 2, 2}}, 4};
    default:  // IQ2 and IQ3: only rearranged; a panel's block is put back before its numbers are read
      return {{{0, static_cast<int>(row_of(format).bytes), 2}}, 1};
  }
}

struct AllParts {
  QuantParts of[kFormats];
  AllParts() {
    for (const QuantTraits& t : kTraits) of[static_cast<size_t>(t.format)] = parts_of(t.format);
  }
};

// Words of one part of one block <-> every sixteenth word of the part in a panel.
template <class Word, bool kBack>
inline void move_words(int64_t words, Word flip, std::byte* block, std::byte* panel) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Word));
  for (int64_t i = 0; i < words; ++i) {
    Word word;
    std::byte* const p = panel + i * kSize * kQuantPanel;
    std::memcpy(&word, kBack ? p : block + i * kSize, sizeof(Word));
    word = static_cast<Word>(word ^ flip);
    std::memcpy(kBack ? block + i * kSize : p, &word, sizeof(Word));
  }
}

// Lanes [first, end) of a panel <-> rows of blocks, of which `rows` is lane `first`.
template <bool kBack>
void move_rows(Format format, int64_t K, int64_t first, int64_t end, std::byte* rows, std::byte* panel) {
  const QuantParts& parts = quant_parts(format);
  const int64_t blocks = K / row_of(format).elements, bytes = row_of(format).bytes;
  const uint32_t flip = format == Format::q8_0 ? 0x80808080u : 0;
  for (int i = 0; i < parts.count; ++i) {
    const QuantPart& part = parts.part[i];
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t lane = first; lane < end; ++lane) {
        std::byte* const block = rows + ((lane - first) * blocks + b) * bytes + part.at;
        std::byte* const at = panel + b * part.bytes * kQuantPanel + lane * part.unit;
        if (part.unit == 4) {
          move_words<uint32_t, kBack>(part.bytes / 4, flip, block, at);
        } else {
          move_words<uint16_t, kBack>(part.bytes / 2, 0, block, at);
        }
      }
    panel += blocks * part.bytes * kQuantPanel;
  }
}

}  // namespace

const QuantTraits& quant_traits(Format format) {
  for (const QuantTraits& t : kTraits) {
    if (t.format == format) return t;
  }
  R1_CHECK(false, name_of(format), " has no blocks");
  return kTraits[0];
}

const QuantParts& quant_parts(Format format) {
  static const AllParts all;
  return all.of[static_cast<size_t>(format)];
}

int64_t first_bad_scale(Format format, std::span<const std::byte> blocks) {
  const QuantParts& parts = quant_parts(format);
  const int64_t bytes = row_of(format).bytes, count = std::ssize(blocks) / bytes;
  const QuantPart last = parts.count == 1 ? QuantPart{0, 2, 2} : parts.part[parts.count - 1];
  const QuantPart other = has_minimum(format) ? parts.part[parts.count - 2] : last;
  const auto is_bad = [&](int64_t b, const QuantPart& part) {
    uint16_t half;
    std::memcpy(&half, blocks.data() + b * bytes + part.at, sizeof(half));
    return (half & 0x7C00) == 0x7C00;
  };
  for (int64_t b = 0; b < count; ++b) {
    if (is_bad(b, last) || is_bad(b, other)) return b * row_of(format).elements;
  }
  return -1;
}

int64_t quant_panel_bytes(Format format, int64_t K) {
  return ceil_div(bytes_of(format, K) * kQuantPanel, int64_t{64}) * 64;
}

int64_t quant_bytes(Format format, int64_t N, int64_t K) {
  return ceil_div(N, kQuantPanel) * quant_panel_bytes(format, K);
}

void pack_quant_panel(Format format, const std::byte* rows, int64_t width, int64_t K, std::byte* panel) {
  if (width < kQuantPanel) std::memset(panel, 0, static_cast<size_t>(quant_panel_bytes(format, K)));
  move_rows<false>(format, K, 0, width, const_cast<std::byte*>(rows), panel);
}

void unpack_quant_row(const QuantMatrix& w, int64_t n, std::byte* row) {
  const std::byte* panel = w.panels + n / kQuantPanel * quant_panel_bytes(w.format, w.K);
  const int64_t lane = n % kQuantPanel;
  move_rows<true>(w.format, w.K, lane, lane + 1, row, const_cast<std::byte*>(panel));
}

}  // namespace r1
