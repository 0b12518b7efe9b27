#include <algorithm>
#include <exception>
#include <span>
#include <vector>

#include "base/integers.h"
#include "ops/convert/convert.h"
#include "ops/matmul/frozen_rows_cuda.h"
#include "tensor/dtype.h"

namespace r1::cuda {
namespace {

constexpr int64_t kPiece = int64_t{1} << 24;  // elements that the host holds at a time
constexpr int64_t kGrain = int64_t{1} << 16;  // a thread's; a multiple of every block's elements

void round_into(std::span<const float> values, float* to) {
  std::ranges::copy(values, to);
}
void round_into(std::span<const float> values, uint16_t* to) {
  narrow(values.data(), std::ssize(values), to);
}

// Elements [first, first + to.size()) as a loaded parameter has them, in V.
template <class V>
void read_piece(ThreadPool& threads, const Parameter& p, int64_t first, std::span<V> to) {
  std::vector<std::exception_ptr> failed(static_cast<size_t>(ceil_div(std::ssize(to), kGrain)));
  threads.parallel_for(std::ssize(to), kGrain, [&](int64_t begin, int64_t end) {
    try {
      std::vector<float> values(static_cast<size_t>(end - begin));
      p.stored.read(first + begin, std::span(values));
      if (p.value.dtype == DType::bf16) {
        for (float& v : values) v = f32_from_bf16(bf16_from_f32(v));
      }
      round_into(values, to.data() + begin);
    } catch (...) {
      failed[static_cast<size_t>(begin / kGrain)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& e : failed) {
    if (e) std::rethrow_exception(e);
  }
}

template <class V>
void read_all(Context& ctx, const Parameter& p, V* rows, int64_t count) {
  std::vector<V> piece(static_cast<size_t>(std::min(count, kPiece)));
  for (int64_t at = 0; at < count; at += kPiece) {
    const auto part = std::span(piece).first(static_cast<size_t>(std::min(kPiece, count - at)));
    read_piece(ctx.threads, p, at, part);
    ctx.memory().write(rows + at, part.data(), part.size_bytes());
  }
}

}  // namespace

void read_frozen_rows(Context& ctx, const Parameter& parameter, const Tensor& rows) {
  if (rows.dtype == DType::bf16) return read_all(ctx, parameter, rows.bf16(), rows.count());
  read_all(ctx, parameter, rows.f32(), rows.count());
}

}  // namespace r1::cuda
