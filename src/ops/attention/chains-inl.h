// ops/attention/chains-inl.h: the one inner product of attention: a tile of outputs, each a chain of FMAs.
//
//   C[m, n] = accumulate ? C[m, n] : +0
//   for k = k_begin .. k_end-1 in order: C[m, n] = fma(A[m, k], B[k, n], C[m, n])
//
// m: up to 12 rows (queries, or 8 keys in the backward); lanes run over n. How the outputs are cut into
// registers differs between machines and row counts; the chain of one output never does. A and C are our own
// scratch, with strides known at compile time so that twelve rows need one pointer; B is a page, a tensor or
// scratch.
//
// Include after hwy/highway.h in a foreach_target file; use inside r1::HWY_NAMESPACE.
#if defined(R1_OPS_ATTENTION_CHAINS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef R1_OPS_ATTENTION_CHAINS_INL_H_
#undef R1_OPS_ATTENTION_CHAINS_INL_H_
#else
#define R1_OPS_ATTENTION_CHAINS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace r1::attention_detail {
namespace HWY_NAMESPACE {

struct Chain {
  const float* a = nullptr;
  int64_t a_block = 0;      // stride between blocks of A
  const void* b = nullptr;  // strides are in elements
  // f32; bf16, which is widened; or q8, whose numbers are multiplied by their scales
  DType b_type = DType::f32;
  int64_t b_block = 0;             // stride between blocks of B (the same steps of k as A's)
  const int32_t* pages = nullptr;  // block i of B lies at b + pages[i] * b_block; null: at b + i * b_block
  int64_t b_row = 0;               // stride between steps of k
  int64_t b_panel = 32;            // stride between panels of 32 columns
  // q8: one scale per column, whose panels are scale_panel apart, or one per step of k, whose blocks of 32 are
  // scale_block apart and lie as those of B.
  const float* scales = nullptr;
  bool scales_of_columns = false;
  int64_t scale_panel = 0, scale_block = 0;
  int64_t k_begin = 0, k_end = 0;
  float* c = nullptr;
  int64_t c_row = 0, c_panel = 32;
  bool accumulate = false;
  float scale = 1;  // C is multiplied by it at the end
};

// Columns [begin, end) of up to 12 rows; begin is a multiple of 16. A lies in tiles [k / 32][m][k % 32]. B
// may end with its last column: vectors past it are loaded under a mask. C is scratch, with whole panels.
void chain_rows(const Chain& c, int64_t rows, int64_t begin, int64_t end);
// kKeyStrip rows. A lies in tiles [k / 12][k % 12][32], m inside; B is f32, padded to 16 columns.
void chain_strip(const Chain& c, int64_t columns);

}  // namespace HWY_NAMESPACE
}  // namespace r1::attention_detail
HWY_AFTER_NAMESPACE();
#endif
