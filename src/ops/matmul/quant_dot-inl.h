// ops/matmul/quant_dot-inl.h: one kernel for every instruction set, over a vector type V of its file.
//
// Include it inside a namespace of its own. V has lanes over outputs:
//
//   kLanes                        int32 lanes
//   Int, Float                    vectors
//   kFlips                        weights of 8 bits are taken as signed: the sum starts at 0, not at `start`
//   int_at, float_at, store       loads and stores of kLanes words
//   all_int, all_float            one word, read from memory, in all lanes
//   dot<kBits, kGroups>(sum, u, q)  sum + the products of kGroups groups of four steps; u are groups 64 bytes
//                                 apart, q four bytes for each group
//   pairs(sum, a, b)              sum + the products of int16 pairs
//   times(a, b), add(a, b)        of int32
//   number(a)                     int32 -> f32
//   fma, minus_fma, mul           a * b + c, c - a * b, a * b of f32

// Lines of memory that are asked for after each sub-block.
struct Ahead {
  const std::byte* at = nullptr;
  int64_t lines = 0;
};
inline constexpr int64_t kLineBytes = 64;
R1_QUANT_INLINE void ask(Ahead& ahead) {
  for (int64_t i = 0; i < ahead.lines; ++i, ahead.at += kLineBytes) __builtin_prefetch(ahead.at, 0, 2);
}

// Computes kRows rows of kLanes outputs, from output `lane` of the panel on.
template <class V, int kBits, int kSub, bool kScaled, bool kMinimum, int kRows>
R1_QUANT_INLINE void tile_rows(const QuantTile& t, const int8_t* q, const std::byte* d,
                               const std::byte* start, const std::byte* sums, float* acc_at, int64_t lane,
                               Ahead ahead) {
  using Int = typename V::Int;
  using Float = typename V::Float;
  constexpr int kBlock = kScaled ? 256 : 32, kSubs = kBlock / kSub, kGroups = kSub / 4;
  constexpr bool kStarts = !(V::kFlips && kBits == 8);
  Float acc[kRows];
  R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) acc[r] = V::float_at(acc_at + r * kQuantPanel);
  const uint8_t* u = t.w.u + 4 * lane;
  const int32_t* scale = t.w.scale + lane;
  const int32_t* least = t.w.least + lane;
  for (int64_t b = 0; b < t.blocks; ++b) {
    Int sum[kRows];
    if constexpr (!kScaled) {
      ask(ahead);
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
          kStarts ? V::all_int(start + r * t.row) : V::zero();
      V::template dot<kBits, kGroups, kRows>(sum, u, q, t.row);
      u += kBlock * kQuantPanel;
      q += kBlock;
      start += 4;
    } else {
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = V::zero();
      for (int s = 0; s < kSubs; ++s) {
        ask(ahead);
        Int part[kRows];
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) part[r] =
            kStarts ? V::all_int(start + r * t.row) : V::zero();
        V::template dot<kBits, kGroups, kRows>(part, u, q, t.row);
        const Int by = V::int_at(scale);
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = V::add(sum[r], V::times(part[r], by));
        u += kSub * kQuantPanel;
        q += kSub;
        start += 4;
        scale += kQuantPanel;
      }
    }
    const Float dw = V::float_at(t.w.d + b * kQuantPanel + lane);
    R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) {
      acc[r] = V::fma(V::mul(dw, V::all_float(d + r * t.row)), V::number(sum[r]), acc[r]);
    }
    if constexpr (kMinimum) {
      const Float dmin = V::float_at(t.w.dmin + b * kQuantPanel + lane);
      if constexpr (kScaled) {
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] = V::zero();
        for (int s = 0; s < kSubs; s += 2) {
          const Int by = V::int_at(least);
          R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
              V::pairs(sum[r], by, V::all_int(sums + r * t.row));
          least += kQuantPanel;
          sums += 4;
        }
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) {
          acc[r] = V::minus_fma(V::mul(dmin, V::all_float(d + r * t.row)), V::number(sum[r]), acc[r]);
        }
      } else {
        R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) {
          acc[r] =
              V::minus_fma(V::mul(dmin, V::all_float(d + r * t.row)), V::all_float(sums + r * t.row), acc[r]);
        }
        sums += 4;
      }
    }
    d += 4;
  }
  R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) V::store(acc_at + r * kQuantPanel, acc[r]);
}

template <class V, int kBits, int kSub, bool kScaled, bool kMinimum, int kRows>
void run_rows(const QuantTile& t, int64_t first) {
  const auto at = [&](const auto* p) { return reinterpret_cast<const std::byte*>(p) + first * t.row; };
  // This call's share of what comes next, spread over its sub-blocks.
  constexpr int64_t kSubs = kScaled ? 256 / kSub : 1;
  Ahead ahead{t.next + t.next_bytes * first / t.rows, 0};
  if (t.next != nullptr) {
    const int64_t steps = kLineBytes * kSubs * t.blocks * t.rows;
    ahead.lines = (t.next_bytes * kRows + steps - 1) / steps;
  }
  for (int64_t lane = 0; lane < kQuantPanel; lane += V::kLanes, ahead.lines = 0) {
    tile_rows<V, kBits, kSub, kScaled, kMinimum, kRows>(t, reinterpret_cast<const int8_t*>(at(t.q)), at(t.d),
                                                        at(t.start), at(t.sums),
                                                        t.acc + first * kQuantPanel + lane, lane, ahead);
  }
}

// All rows of a tile, as many at a time as registers hold.
template <class V, int kBits, int kSub, bool kScaled, bool kMinimum>
void run_tile(const QuantTile& t) {
  constexpr int kMost = kScaled ? V::kScaledRows : V::kPlainRows;
  int64_t m = 0;
  for (; m + kMost <= t.rows; m += kMost) run_rows<V, kBits, kSub, kScaled, kMinimum, kMost>(t, m);
  for (; m + 4 <= t.rows && kMost > 4; m += 4) run_rows<V, kBits, kSub, kScaled, kMinimum, 4>(t, m);
  for (; m + 2 <= t.rows && kMost > 2; m += 2) run_rows<V, kBits, kSub, kScaled, kMinimum, 2>(t, m);
  for (; m < t.rows; ++m) run_rows<V, kBits, kSub, kScaled, kMinimum, 1>(t, m);
}

template <class V>
void run_any(const QuantTile& t) {
  const QuantTraits& f = t.traits;
  if (!f.scaled) {
    switch (f.bits) {
      case 4:
        return f.minimum ? run_tile<V, 4, 32, false, true>(t) : run_tile<V, 4, 32, false, false>(t);
      case 5:
        return f.minimum ? run_tile<V, 5, 32, false, true>(t) : run_tile<V, 5, 32, false, false>(t);
      default:
        return run_tile<V, 8, 32, false, false>(t);
    }
  }
  if (f.sub == 32) {
    switch (f.bits) {
      case 4:
        return run_tile<V, 4, 32, true, true>(t);
      case 5:
        return run_tile<V, 5, 32, true, true>(t);
      default:
        return run_tile<V, 8, 32, true, false>(t);
    }
  }
  switch (f.bits) {
    case 4:
      return f.minimum ? run_tile<V, 4, 16, true, true>(t) : run_tile<V, 4, 16, true, false>(t);
    case 6:
      return run_tile<V, 6, 16, true, false>(t);
    default:
      return run_tile<V, 8, 16, true, false>(t);
  }
}
