// tests/emulator/ops_tensor.cc: products of matrices, boxes, asynchronous copies and their barriers.
//
// Layouts are those of the PTX manual: fragments of mma and ldmatrix, operands of wgmma in lines of 128 bytes whose vectors
// of 16 bytes are swizzled (bits 4 to 6 of an address XOR bits 7 to 9).
#include <bit>
#include <cmath>
#include <unordered_map>

#include "tests/emulator/lanes.h"
#include "tests/emulator/ops.h"
#include "tests/emulator/tensor_map.h"

namespace r1::emulator {
namespace {

using Rules = std::unordered_map<std::string, Rule>;

float bf16(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}
float low(uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
float high(uint32_t pair) {
  return std::bit_cast<float>(pair & 0xFFFF0000u);
}

// d (16 x kN) += a (16 x kK) b (kK x kN), in the order of k.
template <int kN, int kK>
void multiply(float (*d)[kN], const float (*a)[kK], const float (*b)[kN]) {
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < kK; ++k)
      for (int column = 0; column < kN; ++column)
        d[row][column] = std::fma(a[row][k], b[k][column], d[row][column]);
}

// The rows of A that a warp holds in registers: lane 4 g + t has rows g and g + 8, columns 2 t and 2 t + 1 of each eight.
template <int kK>
void read_a(Warp& w, const int32_t* registers, float (*a)[kK]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int part = 0; part < kK / 8; ++part)
      for (int half = 0; half < 2; ++half) {
        const uint32_t pair = w.from<uint32_t>(registers[2 * part + half])[lane];
        a[g + 8 * half][8 * part + 2 * t] = low(pair);
        a[g + 8 * half][8 * part + 2 * t + 1] = high(pair);
      }
  }
}

// Operands: d (4), a (4 or 2), b (2 or 1), c (4).
template <int kK>
void mma(Warp& w, const Inst& i, uint32_t) {
  constexpr size_t kA = 4, kB = kA + kK / 4, kC = kB + kK / 8;
  float a[16][kK], b[kK][8], d[16][8];
  read_a<kK>(w, &i.o[kA], a);
  for (int lane = 0; lane < kLanes; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (size_t part = 0; part < kK / 8; ++part) {
      const uint32_t pair = w.from<uint32_t>(i.o[kB + part])[lane];
      b[8 * part + 2 * static_cast<size_t>(t)][g] = low(pair);
      b[8 * part + 2 * static_cast<size_t>(t) + 1][g] = high(pair);
    }
    for (size_t e = 0; e < 4; ++e)
      d[g + 8 * (e / 2)][2 * static_cast<size_t>(t) + e % 2] = w.from<float>(i.o[kC + e])[lane];
  }
  multiply<8, kK>(d, a, b);
  for (size_t e = 0; e < 4; ++e) {
    float* const out = w.to<float>(i.o[e]);
    for (size_t lane = 0; lane < kLanes; ++lane)
      out[lane] = d[lane / 4 + 8 * (e / 2)][2 * (lane % 4) + e % 2];
  }
}

uint64_t swizzle(uint64_t address) {
  return address ^ (address >> 7 & 7) << 4;
}

// Element (line, k) of an operand that a descriptor describes.
class WgmmaOperand {
 public:
  WgmmaOperand(Warp& w, const Inst& i, uint64_t descriptor, bool by_rows)
      : warp_(w),
        inst_(i),
        start_((descriptor & 0x3FFF) << 4),
        leading_((descriptor >> 16 & 0x3FFF) << 4),
        stride_((descriptor >> 32 & 0x3FFF) << 4),
        by_rows_(by_rows) {
    if (descriptor >> 62 != 1)
      w.fault(i, Fault::Kind::trap, "a descriptor without lines of 128 swizzled bytes is not known");
  }
  // Eight elements beside each other in memory: (line, k to k + 7), or by rows (line to line + 7, k).
  const uint16_t* eight(uint64_t line, uint64_t k) const {
    const uint64_t at = by_rows_
                            ? start_ + line / 64 * leading_ + k / 8 * stride_ + k % 8 * 128 + line % 64 * 2
                            : start_ + line / 8 * stride_ + line % 8 * 128 + k * 2;
    return reinterpret_cast<const uint16_t*>(warp_.shared(inst_, swizzle(at), 16));
  }
  bool by_rows() const { return by_rows_; }

 private:
  Warp& warp_;
  const Inst& inst_;
  uint64_t start_, leading_, stride_;
  bool by_rows_;
};

// wgmma.mma_async.m64nNk16: this warp's 16 rows. inst.offset: N * 4 + (A in registers) * 2.
// Operands: d (N / 2), a (a descriptor or 4 registers), b, the predicate "keep d", scale a, scale b, [trans a,] trans b.
void wgmma(Warp& w, const Inst& i, uint32_t) {
  const auto n = static_cast<size_t>(i.offset / 4);
  const bool a_in_registers = (i.offset & 2) != 0;
  const size_t at_a = n / 2, at_b = at_a + (a_in_registers ? 4 : 1);
  const auto flag = [&](size_t at) { return w.from<uint32_t>(i.o[at])[0]; };
  const uint64_t first_row = w.first_thread() % 128 / 2;
  static thread_local float a[16][16], b[16][256], d[16][256];
  if (a_in_registers) {
    read_a<16>(w, &i.o[at_a], a);
  } else {
    const WgmmaOperand operand(w, i, w.from<uint64_t>(i.o[at_a])[0], flag(at_b + 4) != 0);
    for (uint64_t outer = 0; outer < 2; ++outer)
      for (uint64_t inner = 0; inner < 16; ++inner) {
        const uint16_t* const eight = operand.by_rows() ? operand.eight(first_row + 8 * outer, inner)
                                                        : operand.eight(first_row + inner, 8 * outer);
        for (uint64_t e = 0; e < 8; ++e)
          (operand.by_rows() ? a[8 * outer + e][inner] : a[inner][8 * outer + e]) = bf16(eight[e]);
      }
  }
  const WgmmaOperand operand(w, i, w.from<uint64_t>(i.o[at_b])[0],
                             flag(at_b + (a_in_registers ? 4 : 5)) != 0);
  if (operand.by_rows()) {
    for (uint64_t k = 0; k < 16; ++k)
      for (uint64_t column = 0; column < n; column += 8) {
        const uint16_t* const eight = operand.eight(column, k);
        for (uint64_t e = 0; e < 8; ++e) b[k][column + e] = bf16(eight[e]);
      }
  } else {
    for (uint64_t column = 0; column < n; ++column)
      for (uint64_t k = 0; k < 16; k += 8) {
        const uint16_t* const eight = operand.eight(column, k);
        for (uint64_t e = 0; e < 8; ++e) b[k + e][column] = bf16(eight[e]);
      }
  }
  const bool keep = w.predicate(i.o[at_b + 1]) & 1;
  for (size_t r = 0; r < n / 2; ++r) {
    const float* const from = w.from<float>(i.o[r]);
    for (size_t lane = 0; lane < kLanes; ++lane)
      d[lane / 4 + 8 * (r % 4 / 2)][r / 4 * 8 + 2 * (lane % 4) + r % 2] = keep ? from[lane] : 0.0f;
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (size_t column = 0; column < n; ++column)
        d[row][column] = std::fma(a[row][k], b[k][column], d[row][column]);
  for (size_t r = 0; r < n / 2; ++r) {
    float* const to = w.to<float>(i.o[r]);
    for (size_t lane = 0; lane < kLanes; ++lane)
      to[lane] = d[lane / 4 + 8 * (r % 4 / 2)][r / 4 * 8 + 2 * (lane % 4) + r % 2];
  }
}

// ldmatrix: lanes 8 m to 8 m + 7 name the lines of matrix m. Operands: the registers, then the address.
template <int kCount, bool kTrans>
void load_matrices(Warp& w, const Inst& i, uint32_t) {
  uint16_t matrix[kCount][8][8];
  for (int lane = 0; lane < 8 * kCount; ++lane)
    std::memcpy(matrix[lane / 8][lane % 8], w.shared(i, w.address(i, i.o[kCount], lane), 16), 16);
  for (size_t m = 0; m < kCount; ++m) {
    uint32_t* const out = w.to<uint32_t>(i.o[m]);
    for (int lane = 0; lane < kLanes; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const auto at = [&](int column) -> uint32_t {
        return kTrans ? matrix[m][column][g] : matrix[m][g][column];
      };
      out[lane] = at(2 * t) | at(2 * t + 1) << 16;
    }
  }
}
// stmatrix .x4.trans. Operands: the address, then the registers.
void store_matrices_transposed(Warp& w, const Inst& i, uint32_t) {
  uint16_t matrix[4][8][8];
  for (size_t m = 0; m < 4; ++m)
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint32_t pair = w.from<uint32_t>(i.o[m + 1])[lane];
      matrix[m][2 * (lane % 4)][lane / 4] = static_cast<uint16_t>(pair);
      matrix[m][2 * (lane % 4) + 1][lane / 4] = static_cast<uint16_t>(pair >> 16);
    }
  for (int lane = 0; lane < kLanes; ++lane)
    std::memcpy(w.shared(i, w.address(i, i.o[0], lane), 16), matrix[lane / 8][lane % 8], 16);
}
void transpose(Warp& w, const Inst& i, uint32_t) {
  uint16_t matrix[8][8];
  const uint32_t* const from = w.from<uint32_t>(i.o[1]);
  for (int lane = 0; lane < kLanes; ++lane) {
    matrix[lane / 4][2 * (lane % 4)] = static_cast<uint16_t>(from[lane]);
    matrix[lane / 4][2 * (lane % 4) + 1] = static_cast<uint16_t>(from[lane] >> 16);
  }
  uint32_t* const to = w.to<uint32_t>(i.o[0]);
  for (int lane = 0; lane < kLanes; ++lane)
    to[lane] = matrix[2 * (lane % 4)][lane / 4] | uint32_t{matrix[2 * (lane % 4) + 1][lane / 4]} << 16;
}

constexpr std::byte kUnderWay{0xFF};  // what memory holds while a copy to it may be under way

// cp.async [to], [from], bytes[, bytes that are read]. inst.offset belongs to `to`.
void copy_async(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const uint32_t bytes = w.from<uint32_t>(i.o[2])[l];
    const uint32_t read = i.o.size() > 3 ? w.from<uint32_t>(i.o[3])[l] : bytes;
    std::byte* const to = w.shared(i, w.from<uint32_t>(i.o[0])[l] + static_cast<uint64_t>(i.offset), bytes);
    const std::byte* from = nullptr;
    if (read > 0) from = w.global(i, w.from<uint64_t>(i.o[1])[l], bytes);
    std::memset(to, static_cast<int>(kUnderWay), bytes);
    w.copies.push_back({to, from, bytes, std::min(read, bytes)});
  });
}
void commit_copies(Warp& w, const Inst& i, uint32_t lanes) {
  if (lanes != w.live()) w.fault(i, Fault::Kind::divergence, "groups of a part of a warp are not known");
  w.copy_groups.push_back(std::move(w.copies));
  w.copies.clear();
}
void wait_copies(Warp& w, const Inst& i, uint32_t) {
  w.finish_copies(w.from<uint32_t>(i.o[0])[0]);
}
// The copies that a thread has begun count as one arrival, when they are done. Here they are done now.
void arrive_after_copies(Warp& w, const Inst& i, uint32_t lanes) {
  w.copy_groups.push_back(std::move(w.copies));
  w.copies.clear();
  w.finish_copies(0);
  for_lanes(lanes, [&](int l) { w.block().arrive_at(static_cast<uint32_t>(w.address(i, i.o[0], l)), 1, 0); });
}

void barrier_init(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const uint64_t count = w.from<uint32_t>(i.o[1])[l], word = count | count << 20;
    std::memcpy(w.shared(i, w.address(i, i.o[0], l), 8), &word, sizeof word);
  });
}
// mbarrier.arrive _, [barrier][, bytes]; the barrier may be another block's.
void barrier_arrive(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const auto at = static_cast<uint32_t>(w.address(i, i.o[1], l));
    w.shared(i, at, 8);
    const uint32_t rank = at >> kRankShift;
    Block& owner = rank == 0 ? w.block() : *w.block().cluster->blocks[rank - 1];
    owner.arrive_at(at & ((1u << kRankShift) - 1), 1, i.o.size() > 2 ? w.from<uint32_t>(i.o[2])[l] : 0);
  });
}
void map_address(Warp& w, const Inst& i, uint32_t lanes) {
  map2<uint32_t, uint32_t, uint32_t>(w, i, lanes, [](uint32_t address, uint32_t rank) {
    return (address & ((1u << kRankShift) - 1)) | (rank + 1) << kRankShift;
  });
}

// A map lies among the kernel's parameters, or in global memory at a multiple of 64 bytes.
const TensorMap& tensor_map(Warp& w, const Inst& i, uint64_t address) {
  const auto parameters = reinterpret_cast<uint64_t>(w.parameters());
  const std::byte* at = reinterpret_cast<const std::byte*>(address);
  if (address - parameters >= w.block().launch->parameters.size()) {
    constexpr size_t kAligned = 64;
    at = w.global(i, address, kAligned);
    w.global(i, address + kAligned, kAligned);
  }
  const auto* const map = reinterpret_cast<const TensorMap*>(at);
  if (map->mark != TensorMap::kMark) w.fault(i, Fault::Kind::address, "not a tensor map");
  return *map;
}

// Calls f(place in shared memory, address, bytes, is there) for every 16 bytes of a box at (x, y, z).
template <class F>
void for_box(const TensorMap& map, const int (&at)[3], uint64_t shared, const F& f) {
  const uint32_t per_vector = 16 / map.element_bytes;
  const uint64_t depth = map.dimensions > 2 ? map.box[2] : 1;
  uint64_t place = shared;
  for (uint64_t z = 0; z < depth; ++z)
    for (uint64_t y = 0; y < map.box[1]; ++y)
      for (uint64_t x = 0; x < map.box[0]; x += per_vector, place += 16) {
        const int64_t gx = at[0] + static_cast<int64_t>(x), gy = at[1] + static_cast<int64_t>(y);
        const int64_t gz = at[2] + static_cast<int64_t>(z);
        const auto inside = [](int64_t value, uint64_t size) {
          return value >= 0 && value < static_cast<int64_t>(size);
        };
        const bool there = inside(gy, map.size[1]) && (map.dimensions < 3 || inside(gz, map.size[2]));
        const int64_t first = std::max<int64_t>(gx, 0);
        const int64_t last = std::min<int64_t>(gx + per_vector, static_cast<int64_t>(map.size[0]));
        const uint64_t address = map.data + static_cast<uint64_t>(first) * map.element_bytes +
                                 static_cast<uint64_t>(gy) * map.stride[0] +
                                 (map.dimensions > 2 ? static_cast<uint64_t>(gz) * map.stride[1] : 0);
        const uint64_t to = map.swizzled ? swizzle(place) : place;
        const int64_t count = there && last > first ? last - first : 0;
        f(to, static_cast<uint64_t>(first - gx) * map.element_bytes, address,
          static_cast<uint64_t>(count) * map.element_bytes);
      }
}

void load_box_to(Warp& w, const Inst& i, Block& block, const TensorMap& map, const int (&at)[3], uint32_t to,
                 uint32_t barrier) {
  if (to % 128 != 0) w.fault(i, Fault::Kind::alignment, "a box begins at a multiple of 128 bytes");
  uint32_t bytes = 0;
  for_box(map, at, to, [&](uint64_t place, uint64_t, uint64_t address, uint64_t count) {
    std::byte* const out = block.memory(static_cast<uint32_t>(place), 16, w, i);
    std::memset(out, static_cast<int>(kUnderWay), 16);
    if (count > 0) {
      w.global(i, address, 1);
      w.global(i, address + count - 1, 1);
    }
    bytes += 16;
  });
  block.loads.push_back(
      {barrier, bytes, [&block, &map, at, to] {
         for_box(map, at, to, [&](uint64_t place, uint64_t skip, uint64_t address, uint64_t count) {
           std::byte* const out = block.shared.data() + place;
           std::memset(out, 0, 16);
           std::memcpy(out + skip, reinterpret_cast<const std::byte*>(address), count);
         });
       }});
}

// Operands: [to], [map, {x, y, z}], [barrier][, blocks]
void load_box(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const TensorMap& map = tensor_map(w, i, w.from<uint64_t>(i.o[1])[l]);
    const int at[3] = {w.from<int32_t>(i.o[2])[l], w.from<int32_t>(i.o[3])[l], w.from<int32_t>(i.o[4])[l]};
    const uint32_t to = w.from<uint32_t>(i.o[0])[l], barrier = w.from<uint32_t>(i.o[5])[l];
    if (i.o.size() <= 6) {
      load_box_to(w, i, w.block(), map, at, to, barrier);
      return;
    }
    const uint32_t blocks = w.from<uint16_t>(i.o[6])[l];
    for (uint32_t rank = 0; rank < w.block().cluster->blocks.size(); ++rank)
      if (blocks >> rank & 1) load_box_to(w, i, *w.block().cluster->blocks[rank], map, at, to, barrier);
  });
}
// Operands: [map, {x, y}], [from]
void store_box(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const TensorMap& map = tensor_map(w, i, w.from<uint64_t>(i.o[0])[l]);
    const int at[3] = {w.from<int32_t>(i.o[1])[l], w.from<int32_t>(i.o[2])[l], 0};
    const uint32_t from = w.from<uint32_t>(i.o[3])[l];
    if (from % 128 != 0) w.fault(i, Fault::Kind::alignment, "a box begins at a multiple of 128 bytes");
    for_box(map, at, from, [&](uint64_t place, uint64_t, uint64_t address, uint64_t count) {
      w.block().memory(static_cast<uint32_t>(place), 16, w, i);
      if (count == 0) return;
      w.global(i, address, 1);
      w.global(i, address + count - 1, 1);
    });
    Block& block = w.block();
    w.stores.push_back([&block, &map, at, from] {
      for_box(map, at, from, [&](uint64_t place, uint64_t skip, uint64_t address, uint64_t count) {
        std::memcpy(reinterpret_cast<std::byte*>(address), block.shared.data() + place + skip, count);
      });
    });
  });
}
void prefetch_bytes(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const uint64_t address = w.address(i, i.o[0], l), bytes = w.from<uint32_t>(i.o[1])[l];
    if (address % 16 != 0 || bytes % 16 != 0 || bytes == 0)
      w.fault(i, Fault::Kind::alignment, "prefetched bytes are vectors of 16");
    for (uint64_t at = 0; at < bytes; at += 16) w.global(i, address + at, 16);
  });
}
void commit_stores(Warp& w, const Inst&, uint32_t) {
  w.store_groups.push_back(std::move(w.stores));
  w.stores.clear();
}
void wait_stores(Warp& w, const Inst& i, uint32_t) {
  w.finish_stores(w.from<uint32_t>(i.o[0])[0]);
}

Rules make_rules() {
  Rules r;
  const std::string bf16 = ".row.col.f32.bf16.bf16.f32";
  r["mma.sync.aligned.m16n8k16" + bf16] = {"wwwwwwwwwwwwww", mma<16>, Flow::converged};
  r["mma.sync.aligned.m16n8k8" + bf16] = {"wwwwwwwwwww", mma<8>, Flow::converged};
  const std::string load = "ldmatrix.sync.aligned.m8n8.";
  for (const char* space : {"shared", "shared::cta"}) {
    const std::string b16 = std::string(".") + space + ".b16";
    r[load + "x4" + b16] = {"wwwwa", load_matrices<4, false>, Flow::converged};
    r[load + "x4.trans" + b16] = {"wwwwa", load_matrices<4, true>, Flow::converged};
    r[load + "x2" + b16] = {"wwa", load_matrices<2, false>, Flow::converged};
    r[load + "x2.trans" + b16] = {"wwa", load_matrices<2, true>, Flow::converged};
  }
  r["stmatrix.sync.aligned.m8n8.x4.trans.shared.b16"] = {"awwww", store_matrices_transposed, Flow::converged};
  r["movmatrix.sync.aligned.m8n8.trans.b16"] = {"ww", transpose, Flow::converged};
  for (const int n : {16, 32, 64, 96, 128, 192, 256}) {
    const std::string registers(static_cast<size_t>(n) / 2, 'w');
    const std::string name = "wgmma.mma_async.sync.aligned.m64n" + std::to_string(n) + "k16.f32.bf16.bf16";
    r[name + "/descriptor"] = {registers + "ddpwwww", wgmma, Flow::converged};
    r[name + "/registers"] = {registers + "wwwwdpwww", wgmma, Flow::converged};
  }
  r["wgmma.fence.sync.aligned"] = r["wgmma.commit_group.sync.aligned"] = {"", nothing};
  r["wgmma.wait_group.sync.aligned"] = {"w", nothing};
  r["cp.async.cg.shared.global"] = r["cp.async.ca.shared.global"] = {"adww", copy_async};
  r["cp.async.commit_group"] = {"", commit_copies};
  r["cp.async.wait_group"] = {"w", wait_copies};
  r["cp.async.mbarrier.arrive.noinc.shared::cta.b64"] = {"a", arrive_after_copies};
  r["mbarrier.init.shared::cta.b64"] = {"aw", barrier_init};
  for (const char* name : {"mbarrier.arrive.shared::cta.b64", "mbarrier.arrive.shared::cluster.b64",
                           "mbarrier.arrive.expect_tx.shared::cta.b64"})
    r[name] = {"waw", barrier_arrive};
  r["mbarrier.try_wait.parity.shared::cta.b64"] = {"paw", nullptr, Flow::try_wait};
  r["mapa.shared::cluster.u32"] = {"www", map_address};
  const std::string box = "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";
  r[box] = {"wdwwww", load_box};
  r[box + ".multicast::cluster"] = {"wdwwwwh", load_box};
  r["cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group"] = {"dwww", store_box};
  r["cp.async.bulk.prefetch.tensor.2d.L2.global.tile"] = {"dww", nothing};
  r["cp.async.bulk.prefetch.L2.global"] = {"aw", prefetch_bytes};
  r["cp.async.bulk.commit_group"] = {"", commit_stores};
  r["cp.async.bulk.wait_group.read"] = r["cp.async.bulk.wait_group"] = {"w", wait_stores};
  return r;
}

}  // namespace

const Rule* find_tensor_rule(const std::string& name) {
  static const Rules rules = make_rules();
  const auto found = rules.find(name);
  return found == rules.end() ? nullptr : &found->second;
}

}  // namespace r1::emulator
