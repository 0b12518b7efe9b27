// cli/convert_common.h: code shared by `r1 convert`, `r1 quantize` and `r1 imatrix`.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/progress.h"
#include "formats/json.h"
#include "model/quantize.h"

namespace r1 {

// Throws Error if `out` exists and is not to be replaced, or is the input itself or one of its files.
void check_model_output(const std::filesystem::path& in, const std::filesystem::path& out, bool force);

// True if the output is to be a GGUF file: its name ends in .gguf.
bool is_gguf_name(const std::filesystem::path& out);

// A line of progress on a terminal while tensors are written. It disappears with this object.
class TensorProgress {
 public:
  ~TensorProgress() { clear(); }
  void clear() {
    if (counter_) counter_->clear();
  }
  std::function<void(size_t done, size_t of)> callback() {
    return [this](size_t, size_t of) {
      if (!counter_) counter_.emplace("tensors", static_cast<int64_t>(of));
      counter_->add(1);
    };
  }

 private:
  std::optional<Counter> counter_;
};

// The tally as an object: bytes, bits per weight, and by type the number of tensors and weights, and the
// error.
Json tally_json(const QuantizeTally& tally);
// Returns the same facts as lines for a person.
std::string tally_text(const QuantizeTally& tally);
std::string size_text(uint64_t bytes);  // "98.3 MB"

}  // namespace r1
