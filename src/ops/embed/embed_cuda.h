// ops/embed/embed_cuda.h: the gradient of token embedding on a CUDA device, with cpu-f32's bits. Private to
// this folder, its tests and benchmarks.
#pragma once

#include <cstdint>
#include <span>

namespace r1::cuda {

// The places [0, T) of a batch, gathered by token.
struct TokenPlaces {
  int32_t* places = nullptr;  // [T]: those of a token together, in the order of time
  int32_t* tokens = nullptr;  // [count]: the tokens that there are
  int32_t* starts = nullptr;  // [count + 1]: where the places of each begin
  int64_t count = 0;
};
// Fills `out`, whose arrays have room for T, T and T + 1, on the host. `counts` [V] is scratch; tokens lie in [0, V).
void gather_places(std::span<const int32_t> tokens, std::span<int32_t> counts, TokenPlaces& out);

// gradient[tokens[t]] += dy[t], in the order of t. Pointers are the device's. Work is queued on `stream` (a
// cudaStream_t) and nothing is allocated. Throws Error if the launch is refused.
void embed_add_rows(const float* dy, const TokenPlaces& places, int64_t D, float* gradient, void* stream);

}  // namespace r1::cuda
