// tensor/input_observer.h: sees what products with a weight read, for an importance matrix (model/imatrix.h).
#pragma once

#include <cstdint>
#include <string>

namespace r1 {

class InputObserver {
 public:
  virtual ~InputObserver() = default;
  // x [rows, columns], whose rows are `stride` apart, is about to be multiplied with part `part` of `parts`
  // of the parameter `weight`. A matrix has one part. kv_b_proj of latent attention has two for each of its H
  // heads: part h turns a query into the latent space, part H + h a latent output into a value.
  virtual void see(const std::string& weight, int64_t part, int64_t parts, const float* x, int64_t rows,
                   int64_t columns, int64_t stride) = 0;
};

}  // namespace r1
