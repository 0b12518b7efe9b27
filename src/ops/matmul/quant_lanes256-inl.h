// ops/matmul/quant_lanes256-inl.h: eight lanes of a quant_dot kernel (quant_dot-inl.h), without the products.
//
// A kernel's file includes it where functions are compiled for its instruction set, inside a namespace of its
// own.

struct Lanes256 {
  static constexpr int kLanes = 8;
  using Int = __m256i;
  using Float = __m256;
  static R1_QUANT_INLINE Int zero() { return _mm256_setzero_si256(); }
  static R1_QUANT_INLINE Int int_at(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static R1_QUANT_INLINE Int bytes_at(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static R1_QUANT_INLINE Float float_at(const float* p) { return _mm256_loadu_ps(p); }
  static R1_QUANT_INLINE void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static R1_QUANT_INLINE Int all_int(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof(word));
    return _mm256_set1_epi32(word);
  }
  static R1_QUANT_INLINE Float all_float(const void* p) { return _mm256_castsi256_ps(all_int(p)); }
  static R1_QUANT_INLINE Int times(Int a, Int b) { return _mm256_mullo_epi32(a, b); }
  static R1_QUANT_INLINE Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static R1_QUANT_INLINE Float number(Int a) { return _mm256_cvtepi32_ps(a); }
  static R1_QUANT_INLINE Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static R1_QUANT_INLINE Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static R1_QUANT_INLINE Float minus_fma(Float a, Float b, Float c) { return _mm256_fnmadd_ps(a, b, c); }
};
