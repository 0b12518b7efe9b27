// ops/moe/quant_experts_cuda.cu: few rows per expert are multiplied by the kernel that reads tiles; for more, some experts
// at a time are dequantised into scratch and given to the kernels for bf16.
#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "ops/moe/moe.h"
#include "ops/moe/quant_experts_cuda.h"

namespace r1::cuda {
namespace {

constexpr int64_t kScratchBytes = int64_t{256} << 20;

const Weight& matrix_of(const Expert& expert, int which) {
  return which == 0 ? expert.gate : which == 1 ? expert.up : expert.down;
}

}  // namespace

QuantExperts::QuantExperts(Context& ctx, const MoeWeights& w, int64_t typical, bool transposed)
    : ctx_(ctx), count_(std::ssize(w.experts)), upload_(ctx) {
  if (ctx.row().product != Product::tensor_bf16 || count_ == 0) return;
  bool any = false;
  for (int which = 0; which < 3; ++which) {
    const Format format = matrix_of(w.experts.front(), which).dense().stored.format;
    const bool alike = std::ranges::all_of(w.experts, [&](const Expert& e) {
      const Weight& matrix = matrix_of(e, which);
      return matrix.has_tiles(ctx) && matrix.dense().stored.format == format;
    });
    if (alike) formats_[static_cast<size_t>(which)] = format;
    any = any || alike;
  }
  if (!any) return;
  tiles_ = ctx.host().array<const std::byte*>(3 * count_);
  std::fill_n(tiles_, 3 * count_, nullptr);
  for (int which = 0; which < 3; ++which) {
    for (int64_t e = 0; has(which) && e < count_; ++e)
      tiles_[which * count_ + e] = matrix_of(w.experts[static_cast<size_t>(e)], which).tiles(ctx);
  }
  const Weight& gate = w.experts.front().gate;
  elements_ = gate.N() * gate.K();
  if (typical > kMostQuantRows || transposed) {
    slots_ = std::clamp<int64_t>(kScratchBytes / (2 * elements_), 1, count_);
    scratch_ = ctx.arena.array<uint16_t>(slots_ * elements_);
  }
  auto* slots = ctx.host().array<const uint16_t*>(slots_);
  for (int64_t s = 0; s < slots_; ++s) slots[s] = scratch_ + s * elements_;
  tile_list_ = upload_.add(std::span<const std::byte* const>(tiles_, static_cast<size_t>(3 * count_)));
  slot_list_ = upload_.add(std::span<const uint16_t* const>(slots, static_cast<size_t>(slots_)));
  upload_.send_constants();
}

void QuantExperts::products(const TensorProduct& product, int which, const int64_t* starts,
                            int64_t typical) const {
  R1_CHECK(has(which), "experts that are not quantised");
  const bool forward = product.p.by_k;
  const QuantTiles w{formats_[static_cast<size_t>(which)], forward ? product.I : product.K,
                     forward ? product.K : product.I, nullptr};
  if (forward && (typical <= kMostQuantRows || slots_ == 0)) {
    const TensorGroups groups{.count = count_,
                              .starts = starts,
                              .matrices = reinterpret_cast<const uint16_t* const*>(
                                  upload_.at<const std::byte*>(tile_list_) + which * count_),
                              .aligned = true,
                              .typical = typical};
    return quant_products({w, product}, groups, ctx_.stream);
  }
  R1_CHECK(slots_ > 0, "no scratch for experts");
  for (int64_t first = 0; first < count_; first += slots_) {
    const int64_t count = std::min(slots_, count_ - first);
    for (int64_t s = 0; s < count; ++s) {
      QuantTiles one = w;
      one.data = tiles_[which * count_ + first + s];
      dequantise_tiles(one, 0, one.N, scratch_ + s * elements_, ctx_.stream);
    }
    const TensorGroups groups{
        .count = count,
        .starts = starts + first,
        .matrices = upload_.at<const uint16_t*>(slot_list_),
        .aligned = elements_ % 8 == 0,
        .typical = ceil_div(count_ * typical, count)};  // all rows may be these experts'
    tensor_products(product, groups, ctx_.stream);
  }
}

}  // namespace r1::cuda
