// cuBLASLt is opened when it is first used: it is large, and nothing but a measurement needs it.
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <utility>

#include "base/error.h"
#include "ops/matmul/free_product_cuda.h"
#include "tensor/cuda.h"

namespace r1::cuda {
namespace {

constexpr int64_t kScratch = int64_t{32} << 20;  // bytes

struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  cublasLtHandle_t handle = nullptr;
};

void check_lt(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("cuBLASLt: ") + call + " failed with status " +
                std::to_string(static_cast<int>(status)));
}

template <class Function>
void find(void* library, const char* name, Function* function) {
  void* const found = dlsym(library, name);
  if (found == nullptr) throw Error(std::string("cuBLASLt has no ") + name);
  *function = reinterpret_cast<Function>(found);
}

const Library& library() {
  static const Library opened = [] {
    constexpr const char* kName = "libcublasLt.so.13";
    void* const file = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
    if (file == nullptr)
      throw Error(std::string("--no-exact: ") + kName +
                  " is not found: install cuBLAS of CUDA 13, or name its folder in LD_LIBRARY_PATH");
    Library lt{};
    find(file, "cublasLtCreate", &lt.create);
    find(file, "cublasLtMatmul", &lt.matmul);
    find(file, "cublasLtMatmulDescCreate", &lt.desc_create);
    find(file, "cublasLtMatmulDescDestroy", &lt.desc_destroy);
    find(file, "cublasLtMatmulDescSetAttribute", &lt.desc_set);
    find(file, "cublasLtMatrixLayoutCreate", &lt.layout_create);
    find(file, "cublasLtMatrixLayoutDestroy", &lt.layout_destroy);
    find(file, "cublasLtMatmulPreferenceCreate", &lt.preference_create);
    find(file, "cublasLtMatmulPreferenceDestroy", &lt.preference_destroy);
    find(file, "cublasLtMatmulPreferenceSetAttribute", &lt.preference_set);
    find(file, "cublasLtMatmulAlgoGetHeuristic", &lt.heuristic);
    check_lt(lt.create(&lt.handle), "cublasLtCreate");
    return lt;
  }();
  return opened;
}

// A column-major matrix.
struct Layout {
  Layout(cudaDataType type, int64_t rows, int64_t columns, int64_t apart) {
    check_lt(library().layout_create(&at, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                     apart),
             "cublasLtMatrixLayoutCreate");
  }
  ~Layout() { library().layout_destroy(at); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t at = nullptr;
};

struct Description {
  Description(bool first_by_k, bool second_by_k) {
    check_lt(library().desc_create(&at, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t a = first_by_k ? CUBLAS_OP_T : CUBLAS_OP_N,
                            b = second_by_k ? CUBLAS_OP_N : CUBLAS_OP_T;
    check_lt(library().desc_set(at, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof(a)), "TRANSA");
    check_lt(library().desc_set(at, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof(b)), "TRANSB");
  }
  ~Description() { library().desc_destroy(at); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  cublasLtMatmulDesc_t at = nullptr;
};

// The multiple of bytes at which a matrix begins, up to what cuBLASLt asks of matrices unless it is told otherwise.
uint32_t alignment_of(const void* at) {
  constexpr uintptr_t kMost = 256;
  const auto address = reinterpret_cast<uintptr_t>(at) | kMost;
  return static_cast<uint32_t>(address & (~address + 1));
}

// A product's sizes, layouts and alignments.
struct FreeShape {
  std::array<int64_t, 9> sizes;
  uint32_t a, b, d;
  auto operator<=>(const FreeShape&) const = default;
};

// The algorithm that cuBLASLt recommends, asked once per shape.
const cublasLtMatmulAlgo_t& algorithm_for(const FreeShape& shape, const Description& what, const Layout& a,
                                          const Layout& b, const Layout& d) {
  static std::map<FreeShape, cublasLtMatmulAlgo_t> known;
  const auto found = known.find(shape);
  if (found != known.end()) return found->second;
  cublasLtMatmulPreference_t preference = nullptr;
  check_lt(library().preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const auto bytes = static_cast<uint64_t>(kScratch);
  check_lt(
      library().preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes)),
      "MAX_WORKSPACE_BYTES");
  for (const auto& [attribute, alignment] : {std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.a},
                                             std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.b},
                                             std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.d},
                                             std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.d}})
    check_lt(library().preference_set(preference, attribute, &alignment, sizeof(alignment)), "MIN_ALIGNMENT");
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  const cublasStatus_t status =
      library().heuristic(library().handle, what.at, a.at, b.at, d.at, d.at, preference, 1, &result, &count);
  library().preference_destroy(preference);
  check_lt(status, "cublasLtMatmulAlgoGetHeuristic");
  if (count == 0) throw Error("cuBLASLt knows no algorithm for a product of bf16 matrices of this shape");
  return known.emplace(shape, result.algo).first->second;
}

}  // namespace

bool free_product(Context& ctx, const TensorProduct& product) {
  if (product.bias != nullptr || product.gradients != nullptr || product.k_rows != nullptr) return false;
  if (product.d_i != 1 && product.d_j != 1) return false;
  // cuBLASLt writes column by column. If the neighbours of D are those in j, it computes D's transpose.
  const bool turned = product.d_i != 1;
  const TensorOperand &first = turned ? product.q : product.p, &second = turned ? product.p : product.q;
  const int64_t I = turned ? product.J : product.I, J = turned ? product.I : product.J, K = product.K,
                apart = turned ? product.d_i : product.d_j;
  const OpScope scope(ctx);
  constexpr size_t kAligned = 256;  // of the workspace
  void* room = ctx.arena.take(static_cast<size_t>(kScratch) + kAligned);
  if (ctx.measuring || I == 0 || J == 0) return true;
  size_t space = static_cast<size_t>(kScratch) + kAligned;
  void* const scratch = std::align(kAligned, static_cast<size_t>(kScratch), room, space);
  const Description what(first.by_k, second.by_k);
  const Layout a(CUDA_R_16BF, first.by_k ? K : I, first.by_k ? I : K, first.row);
  const Layout b(CUDA_R_16BF, second.by_k ? K : J, second.by_k ? J : K, second.row);
  const Layout d(product.d_bf16 ? CUDA_R_16BF : CUDA_R_32F, I, J, apart);
  const cublasLtMatmulAlgo_t& algorithm = algorithm_for(
      {.sizes = {I, J, K, first.row, second.row, apart, first.by_k, second.by_k, product.d_bf16},
       .a = alignment_of(first.data),
       .b = alignment_of(second.data),
       .d = alignment_of(product.d)},
      what, a, b, d);
  const float one = 1.0f, before = product.accumulate ? 1.0f : 0.0f;
  check_lt(library().matmul(library().handle, what.at, &one, first.data, a.at, second.data, b.at, &before,
                            product.d, d.at, product.d, d.at, &algorithm, scratch,
                            static_cast<size_t>(kScratch), static_cast<cudaStream_t>(ctx.stream)),
           "cublasLtMatmul");
  check_launch("product by cuBLASLt");
  return true;
}

}  // namespace r1::cuda
