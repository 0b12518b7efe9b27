// model/quantize.h: writes tensors in another type, and says how large the error is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/threads.h"
#include "formats/gguf_writer.h"
#include "formats/weight_source.h"
#include "model/imatrix.h"
#include "model/quantize_plan.h"

namespace r1 {

// The tensors of one type in a written file.
struct TypeTally {
  int64_t tensors = 0, weights = 0;
  uint64_t bytes = 0;
  double squares = 0, error_squares = 0;  // sums of x^2, and of the squared differences
  double relative_rms() const;
};
struct QuantizeTally {
  std::map<GgufType, TypeTally> types;
  uint64_t bytes_before = 0, bytes_after = 0;  // of all tensors
  int64_t weights = 0;
  double bits_per_weight() const;
};

// Converts a tensor's rows to `type` on all threads, a bounded number at a time, and passes the bytes on in
// order. The bytes do not depend on the threads. If the source has the type already, its bytes are passed on
// as they are. `importance` may be empty.
TypeTally convert_tensor(ThreadPool& threads, const GgufOutput& tensor, GgufType type,
                         const Importance& importance,
                         const std::function<void(std::span<const std::byte>)>& use);

// Writes all tensors to `target`, as planned. `importance` may be null. `progress` is told about each
// finished tensor.
QuantizeTally write_quantized(ThreadPool& threads, const std::filesystem::path& target, const GgufKeys& keys,
                              const std::vector<GgufOutput>& tensors, const std::vector<PlannedTensor>& plan,
                              const ImportanceMatrix* importance,
                              const std::function<void(const GgufOutput&, GgufType)>& progress);

// A source whose matrices are those of the file that `r1 quantize --type PRESET` writes of the same model:
// the values of the same blocks, which are made when they are read. `inner` is kept.
std::unique_ptr<WeightSource> quantized_source(std::unique_ptr<WeightSource> inner, const ModelConfig& config,
                                               const QuantizePreset& preset);

}  // namespace r1
