#include "model/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/first_error.h"
#include "formats/gguf_blocks.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr int64_t kElementsAtATime = int64_t{1} << 22;
constexpr int64_t kElementsOfAChunk = int64_t{1} << 14;  // that a thread takes

uint64_t bytes_of(GgufType type, int64_t elements) {
  const GgufTypeRow& row = row_of(type);
  return static_cast<uint64_t>(elements / row.block * row.bytes);
}

struct RowError {
  double squares = 0, error = 0;
};

RowError error_of_row(GgufType type, std::span<const float> x, std::span<const std::byte> bytes,
                      std::vector<float>& back) {
  back.resize(x.size());
  dequantize(type, bytes, back);
  RowError out;
  for (size_t i = 0; i < x.size(); ++i) {
    const double was = static_cast<double>(x[i]), off = static_cast<double>(back[i]) - was;
    out.squares += was * was;
    out.error += off * off;
  }
  return out;
}

// The columns' importance for a row of a stack.
std::span<const float> importance_of_row(const GgufOutput& tensor, const Importance& importance,
                                         int64_t row) {
  if (importance.empty()) return {};
  const int64_t rows = tensor.rows() / tensor.matrices();
  const int64_t matrix = importance.matrices == 1 ? 0 : row / rows;
  const auto columns =
      std::span(importance.values)
          .subspan(static_cast<size_t>(matrix * importance.columns), static_cast<size_t>(importance.columns));
  // An expert that saw no token: nothing is known of its columns.
  if (std::ranges::all_of(columns, [](float v) { return v == 0.0f; })) return {};
  return columns;
}

void pass_bytes(const GgufOutput& tensor, const std::function<void(std::span<const std::byte>)>& use) {
  const uint64_t size = bytes_of(tensor.stored, tensor.count());
  constexpr uint64_t kPiece = uint64_t{1} << 22;
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < size; at += piece.size()) {
    piece.resize(std::min(kPiece, size - at));
    tensor.read_bytes(at, piece);
    use(piece);
  }
}

}  // namespace

double TypeTally::relative_rms() const {
  return squares > 0 ? std::sqrt(error_squares / squares) : 0.0;
}

double QuantizeTally::bits_per_weight() const {
  return weights > 0 ? 8.0 * static_cast<double>(bytes_after) / static_cast<double>(weights) : 0.0;
}

TypeTally convert_tensor(ThreadPool& threads, const GgufOutput& tensor, GgufType type,
                         const Importance& importance,
                         const std::function<void(std::span<const std::byte>)>& use) {
  TypeTally tally{.tensors = 1, .weights = tensor.count(), .bytes = bytes_of(type, tensor.count())};
  if (tensor.count() == 0) return tally;
  if (type == tensor.stored && tensor.read_bytes && row_of(type).block > 1) {
    pass_bytes(tensor, use);
    return tally;
  }
  const int64_t width = tensor.width(), rows = tensor.rows();
  const int64_t most = std::clamp<int64_t>(kElementsAtATime / width, 1, rows);
  const auto row_bytes = static_cast<size_t>(bytes_of(type, width));
  std::vector<float> values(static_cast<size_t>(most * width));
  std::vector<std::byte> bytes(static_cast<size_t>(most) * row_bytes);
  std::vector<RowError> errors(static_cast<size_t>(most));
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    FirstError error;
    threads.parallel_for(
        count, std::max<int64_t>(1, kElementsOfAChunk / width), [&](int64_t begin, int64_t end) {
          error.run([&] {
            const auto mine = std::span(values).subspan(static_cast<size_t>(begin * width),
                                                        static_cast<size_t>((end - begin) * width));
            tensor.read((first + begin) * width, mine);
            std::vector<float> back;
            for (int64_t row = begin; row < end; ++row) {
              const auto x = std::span<const float>(values).subspan(static_cast<size_t>(row * width),
                                                                    static_cast<size_t>(width));
              const auto to = std::span(bytes).subspan(static_cast<size_t>(row) * row_bytes, row_bytes);
              quantize(type, x, to, importance_of_row(tensor, importance, first + row));
              errors[static_cast<size_t>(row)] = error_of_row(type, x, to, back);
            }
          });
        });
    try {
      error.rethrow();
    } catch (const Error& e) {
      const std::string what = e.what();
      if (what.find("tensor ") != std::string::npos) throw;
      throw Error(fmt::format("tensor {}: {}", shown(tensor.name), what));
    }
    for (int64_t row = 0; row < count; ++row) {
      tally.squares += errors[static_cast<size_t>(row)].squares;
      tally.error_squares += errors[static_cast<size_t>(row)].error;
    }
    use(std::span<const std::byte>(bytes).first(static_cast<size_t>(count) * row_bytes));
  }
  return tally;
}

QuantizeTally write_quantized(ThreadPool& threads, const std::filesystem::path& target, const GgufKeys& keys,
                              const std::vector<GgufOutput>& tensors, const std::vector<PlannedTensor>& plan,
                              const ImportanceMatrix* importance,
                              const std::function<void(const GgufOutput&, GgufType)>& progress) {
  R1_CHECK(tensors.size() == plan.size(), tensors.size(), " ", plan.size());
  const Importance none;
  const auto importance_of = [&](size_t i) -> const Importance& {
    const bool quantised = tensors[i].is_matrix && row_of(plan[i].type).block > 1;
    return importance != nullptr && quantised ? importance->of(tensors[i]) : none;
  };
  std::vector<GgufWriter::Declared> declared;
  for (size_t i = 0; i < tensors.size(); ++i) {
    importance_of(i);  // what is missing is said before anything is written
    declared.push_back({tensors[i].name, plan[i].type, tensors[i].shape});
  }
  GgufWriter out(target, keys, std::move(declared));
  QuantizeTally tally;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const GgufOutput& tensor = tensors[i];
    const TypeTally one =
        convert_tensor(threads, tensor, plan[i].type, importance_of(i),
                       [&](std::span<const std::byte> bytes) { out.write(tensor.name, bytes); });
    TypeTally& sum = tally.types[plan[i].type];
    sum.tensors += one.tensors;
    sum.weights += one.weights;
    sum.bytes += one.bytes;
    sum.squares += one.squares;
    sum.error_squares += one.error_squares;
    tally.weights += one.weights;
    tally.bytes_after += one.bytes;
    tally.bytes_before += bytes_of(tensor.stored, tensor.count());
    progress(tensor, plan[i].type);
  }
  out.close();
  return tally;
}

}  // namespace r1
