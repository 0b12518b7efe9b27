// model/kv_cache.h: the pages that hold the keys and values of every layer.
#pragma once

#include <cstdint>
#include <vector>

#include "base/integers.h"
#include "model/config.h"
#include "ops/attention/attention.h"
#include "tensor/context.h"

namespace r1 {

// The elements have the numerics' type of keys and values. A page holds kKeyTile positions of one sequence in
// one layer; page p of every layer belongs to the same positions. The MTP head's layer comes last.
class KvCache {
 public:
  KvCache() = default;
  // The pages of a batch that is differentiated layer by layer may serve one layer at a time.
  enum class Layers : uint8_t { all, one };
  // The first owns its memory (the engine's); the second takes it from ctx's arena (a training batch's, until
  // the scope ends).
  KvCache(const ModelConfig& config, int64_t pages, DType dtype, Memory& memory = host_memory());
  KvCache(const ModelConfig& config, int64_t pages, Context& ctx, Layers layers = Layers::all);

  // Sets every element of a layer to 0. Of a cache that owns its memory.
  void zero_layer(Context& ctx, int64_t layer);
  // Copies the contents of the first `pages` pages of another cache, which has the same shape and no more pages,
  // into the pages of the same numbers.
  void copy_pages_from(Context& ctx, const KvCache& other, int64_t pages);

  int64_t pages() const { return pages_; }
  DType dtype() const { return layers_.empty() ? DType::f32 : layers_.front().dtype; }
  const KvPages& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }

  static int64_t bytes_per_page(const ModelConfig& config, DType dtype);
  static int64_t pages_for(int64_t positions) { return ceil_div(positions, kKeyTile); }

 private:
  int64_t pages_ = 0;
  Buffer storage_;
  std::vector<KvPages> layers_;
};

// A batch of whole sequences, for scoring and training. It owns the arrays that Batch points to; they are on
// the host, and an op that needs them elsewhere copies them.
struct WholeBatch {
  std::vector<int32_t> tokens, positions, offsets, pages;
  std::vector<int64_t> prefixes;  // empty, as tails and parents, if no row has a parent
  std::vector<int32_t> tails, parents;
  int64_t max_pages = 0;
  int64_t page_count = 0;
  Batch view() const { return {tokens, positions, offsets, pages, max_pages, prefixes, tails, parents}; }
};
// New tokens of a row. They follow those of row `parent`, or start at position 0.
struct WholeRow {
  std::span<const int32_t> tokens;
  int32_t parent = -1;
};
WholeBatch whole_batch(std::span<const WholeRow> rows);
WholeBatch whole_batch(std::span<const std::span<const int32_t>> rows);

}  // namespace r1
