#include <algorithm>
#include <new>

#include "ops/matmul/products.h"
#include "ops/simd/grain.h"

namespace r1 {

ProductList::ProductList(Context& ctx, int64_t limit)
    : ctx_(ctx),
      gemms_(ctx.host().array<Gemm>(limit)),
      quants_(ctx.host().array<QuantProduct>(limit)),
      inputs_(ctx.host().array<Quantised>(limit)) {}

void ProductList::add(const PlainProduct& p) {
  const int64_t N = p.w->N(), K = p.w->K();
  if (!p.w->has_blocks(ctx_)) {
    Gemm g{.M = p.M, .N = N, .K = K, .a = p.x, .a_row = K, .c = p.y, .c_row = N};
    p.w->fill_b(ctx_, g);
    new (gemms_ + gemm_count_++) Gemm(g);
    return;
  }
  const QuantMatrix w = p.w->blocks(ctx_);
  Quantised input{.format = w.format, .x = p.x, .M = p.M, .K = K, .rows = nullptr};
  if (input_count_ > 0) {
    const Quantised& last = inputs_[input_count_ - 1];
    if (last.format == input.format && last.x == input.x && last.M == input.M && last.K == input.K)
      input.rows = last.rows;
  }
  if (input.rows == nullptr) {
    if (!scope_) scope_.emplace(ctx_);
    input.rows = ctx_.arena.array<std::byte>(p.M * QuantRowLayout(w.format, K).bytes);
    new (inputs_ + input_count_++) Quantised(input);
  }
  new (quants_ + quant_count_++) QuantProduct{.w = w, .x = input.rows, .M = p.M, .y = p.y};
}

// All rows of all inputs, shared by the threads.
void ProductList::quantise() {
  int64_t rows = 0, elements = 0;
  for (int64_t i = 0; i < input_count_; ++i) {
    rows += inputs_[i].M;
    elements += inputs_[i].M * inputs_[i].K;
  }
  if (rows == 0) return;
  ctx_.threads.parallel_for(rows, row_grain(elements / rows), [&](int64_t begin, int64_t end) {
    int64_t before = 0;  // rows of the inputs before this one
    for (int64_t i = 0; i < input_count_ && before < end; before += inputs_[i++].M) {
      const Quantised& input = inputs_[i];
      const int64_t first = std::max(begin - before, int64_t{0}), last = std::min(end - before, input.M);
      if (first >= last) continue;
      quantise_rows(input.format, input.x + first * input.K, last - first, input.K,
                    input.rows + first * QuantRowLayout(input.format, input.K).bytes);
    }
  });
}

void ProductList::run() {
  if (!ctx_.measuring) {
    if (gemm_count_ == 1) {
      gemm(ctx_.threads, gemms_[0]);
    } else {
      gemm_batch(ctx_.threads, {gemms_, static_cast<size_t>(gemm_count_)});
    }
    quantise();
    quant_products(ctx_.threads, {quants_, static_cast<size_t>(quant_count_)});
  }
  gemm_count_ = quant_count_ = input_count_ = 0;
  scope_.reset();
}

}  // namespace r1
