// tensor/transfer.h: values on their way between the host and a tensor's memory.
//
// Nothing above ops/ touches a tensor's memory. What it reads or writes by hand goes through these functions,
// which serve any memory. They return when the host's side may be used again, and run in the order of the
// stream (null on the host). A range outside the tensor is a broken invariant.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/memory.h"
#include "tensor/tensor.h"

namespace r1 {

// Reads elements [first, first + size of `to`) of t, f32 or bf16, as f32. Widening is exact.
void read_values(Memory& memory, const Tensor& t, int64_t first, std::span<float> to, void* stream = nullptr);
// Writes them to t, f32 or bf16. Bf16 is rounded to nearest even.
void write_values(Memory& memory, const Tensor& t, int64_t first, std::span<const float> from,
                  void* stream = nullptr);
// Writes the first elements of t, i32.
void write_words(Memory& memory, const Tensor& t, std::span<const int32_t> from, void* stream = nullptr);
// Copies all of `from` into `to`, of the same memory, shape and type.
void copy_values(Memory& memory, const Tensor& from, const Tensor& to, void* stream = nullptr);
// Sets all of t to 0.
void zero_values(Memory& memory, const Tensor& t, void* stream = nullptr);

// Passes all values of t to f in f32, piece by piece and in order.
template <class F>
void in_f32(Memory& memory, const Tensor& t, const F& f, void* stream = nullptr) {
  constexpr int64_t kPiece = 1 << 15;  // 128 KiB: a piece stays in a core's cache until f has read it
  std::vector<float> piece(static_cast<size_t>(std::min(kPiece, t.count())));
  for (int64_t first = 0; first < t.count(); first += kPiece) {
    const std::span<float> part(piece.data(), static_cast<size_t>(std::min(kPiece, t.count() - first)));
    read_values(memory, t, first, part, stream);
    f(std::span<const float>(part));
  }
}

}  // namespace r1
