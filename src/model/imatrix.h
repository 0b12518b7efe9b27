// model/imatrix.h: importance matrices: for each matrix of a model, the sums of the squares of what its
// columns were multiplied with.
//
// A file is GGUF, with general.type = "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size,
// and for a tensor NAME of the model two tensors, both F32:
//
//   NAME.in_sum2 [matrices, columns]   sums over tokens of x^2; a stack (experts, heads) has a row for each matrix
//   NAME.counts  [matrices, 1]         how many tokens; one count may stand for all matrices
//
// This is the form that llama.cpp writes and reads (tools/imatrix; quantize --imatrix).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "formats/gguf_file.h"
#include "model/config.h"
#include "model/gguf_export.h"
#include "tensor/context.h"

namespace r1 {

// The mean squares of one tensor, [matrices * columns]. A matrix that saw no token has zeros.
struct Importance {
  int64_t matrices = 0, columns = 0;
  std::vector<float> values;
  bool empty() const { return values.empty(); }
};

class ImportanceMatrix {
 public:
  // Throws Error for a file of another kind, and for sums that are negative, not finite or of the wrong
  // shape.
  explicit ImportanceMatrix(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  size_t size() const { return by_name_.size(); }
  // The importance of a tensor that will be quantised; empty for the embedding and the output, which files
  // often lack. Throws Error if it is missing or has another shape: the file is of another model.
  const Importance& of(const GgufOutput& tensor) const;
  // Throws Error if `tensors` has none of the names in the file.
  void check(const std::vector<GgufOutput>& tensors) const;

 private:
  std::string path_;
  std::map<std::string, Importance, std::less<>> by_name_;
};

// Collects the sums during forwards: a Context with this as its `inputs` shows it what every product reads.
class ImportanceCollector final : public InputObserver {
 public:
  explicit ImportanceCollector(const ModelConfig& config);
  void see(const std::string& weight, int64_t part, int64_t parts, const float* x, int64_t rows,
           int64_t columns, int64_t stride) override;

  struct Sums {
    int64_t columns = 0;
    std::vector<double> squares;  // [matrices * columns]
    std::vector<int64_t> counts;  // [matrices]
  };
  const std::map<std::string, Sums>& sums() const { return sums_; }
  // Names of stacks of which some matrices saw no token, with their number: "blk.3.ffn_up_exps.weight (2 of
  // 64)".
  std::vector<std::string> unseen() const;

  struct About {
    std::string dataset;
    int64_t chunks = 0, chunk_tokens = 0;
  };
  void write(const std::filesystem::path& path, const About& about) const;

 private:
  const ModelConfig config_;
  std::mutex mutex_;
  std::map<std::string, Sums> sums_;
};

}  // namespace r1
