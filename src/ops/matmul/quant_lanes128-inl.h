// ops/matmul/quant_lanes128-inl.h: four lanes of a quant_dot kernel (quant_dot-inl.h) for 64-bit Arm with SDOT.
//
// A kernel's file includes it where functions are compiled for its instruction set, inside a namespace of its
// own.

struct Lanes128 {
  static constexpr int kLanes = 4;
  static constexpr bool kFlips = true;  // bytes below 128 are signed as they are
  using Int = int32x4_t;
  using Float = float32x4_t;
  static R1_QUANT_INLINE Int zero() { return vdupq_n_s32(0); }
  static R1_QUANT_INLINE Int int_at(const int32_t* p) { return vld1q_s32(p); }
  static R1_QUANT_INLINE Float float_at(const float* p) { return vld1q_f32(p); }
  static R1_QUANT_INLINE void store(float* p, Float v) { vst1q_f32(p, v); }
  static R1_QUANT_INLINE Int all_int(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return vdupq_n_s32(word);
  }
  static R1_QUANT_INLINE Float all_float(const void* p) { return vreinterpretq_f32_s32(all_int(p)); }
  static R1_QUANT_INLINE Int pairs(Int sum, Int a, Int b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    const Int low = vmull_s16(vget_low_s16(x), vget_low_s16(y)), high = vmull_high_s16(x, y);
    return vaddq_s32(sum, vpaddq_s32(low, high));
  }
  static R1_QUANT_INLINE Int times(Int a, Int b) { return vmulq_s32(a, b); }
  static R1_QUANT_INLINE Int add(Int a, Int b) { return vaddq_s32(a, b); }
  static R1_QUANT_INLINE Float number(Int a) { return vcvtq_f32_s32(a); }
  static R1_QUANT_INLINE Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static R1_QUANT_INLINE Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static R1_QUANT_INLINE Float minus_fma(Float a, Float b, Float c) { return vfmsq_f32(c, a, b); }
  // Sixteen weights as signed bytes.
  template <int kBits>
  static R1_QUANT_INLINE int8x16_t weights_at(const uint8_t* p) {
    const uint8x16_t bytes = vld1q_u8(p);
    return vreinterpretq_s8_u8(kBits == 8 ? veorq_u8(bytes, vdupq_n_u8(0x80)) : bytes);
  }
  // SDOT.
  template <int kBits, int kGroups, int kRows>
  static R1_QUANT_INLINE void dot(Int* sum, const uint8_t* u, const int8_t* q, int64_t row) {
    R1_QUANT_UNROLL for (int g = 0; g < kGroups; ++g) {
      const int8x16_t w = weights_at<kBits>(u + 64 * g);
      R1_QUANT_UNROLL for (int r = 0; r < kRows; ++r) sum[r] =
          vdotq_s32(sum[r], w, vreinterpretq_s8_s32(all_int(q + r * row + 4 * g)));
    }
  }
};
