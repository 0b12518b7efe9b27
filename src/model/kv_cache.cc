#include "model/kv_cache.h"

#include <algorithm>

#include "tensor/transfer.h"

namespace r1 {
namespace {

KvPages shape_of(const ModelConfig& config, DType dtype) {
  KvPages pages;
  pages.dtype = dtype;
  pages.G = config.cache_heads();
  pages.K = config.cache_key();
  pages.V = config.cache_value();
  pages.values_in_keys = config.cache_values_in_keys();
  return pages;
}

// The storage has pages for every layer, or for one, which all of them share.
std::vector<KvPages> cut(const ModelConfig& config, const Tensor& storage) {
  std::vector<KvPages> layers;
  for (int64_t i = 0; i < config.cache_layers(); ++i)
    layers.push_back(shape_of(config, storage.dtype).of_layer(storage, std::min(i, storage.dim(0) - 1)));
  return layers;
}

Shape all_pages(const ModelConfig& config, int64_t layers, int64_t pages, DType dtype) {
  return {layers, pages, shape_of(config, dtype).page_elements()};
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t pages, DType dtype, Memory& memory)
    : pages_(pages), storage_(all_pages(config, config.cache_layers(), pages, dtype), dtype, memory) {
  layers_ = cut(config, storage_.tensor());
}

KvCache::KvCache(const ModelConfig& config, int64_t pages, Context& ctx, Layers layers) : pages_(pages) {
  const DType dtype = ctx.row().cache;
  const int64_t held = layers == Layers::one ? 1 : config.cache_layers();
  layers_ = cut(config, ctx.arena.tensor(all_pages(config, held, pages, dtype), dtype));
}

void KvCache::zero_layer(Context& ctx, int64_t layer) {
  const Tensor& all = storage_.tensor();
  if (all.count() > 0) zero_values(ctx.memory(), all.part(layer, 1), ctx.stream);
}

void KvCache::copy_pages_from(Context& ctx, const KvCache& other, int64_t pages) {
  if (pages == 0) return;
  const Tensor &from = other.storage_.tensor(), &to = storage_.tensor();
  R1_CHECK(from && to && pages <= other.pages_ && other.pages_ <= pages_ && from.dim(0) == to.dim(0),
           "a cache of ", other.pages_, " pages does not fit into one of ", pages_);
  const auto layer = [](const Tensor& t, int64_t i) {
    return t.part(i, 1).reshaped(Shape{t.dim(1), t.dim(2)});
  };
  for (int64_t i = 0; i < from.dim(0); ++i)
    copy_values(ctx.memory(), layer(from, i).part(0, pages), layer(to, i).part(0, pages), ctx.stream);
}

int64_t KvCache::bytes_per_page(const ModelConfig& config, DType dtype) {
  return config.cache_layers() * static_cast<int64_t>(shape_of(config, dtype).page_bytes());
}

WholeBatch whole_batch(std::span<const WholeRow> rows) {
  WholeBatch batch;
  batch.offsets.push_back(0);
  std::vector<int64_t> starts, pages;  // of each row: its first position, the pages of its last one
  bool families = false;
  for (const WholeRow& row : rows) {
    const auto parent = static_cast<size_t>(row.parent);
    families = families || row.parent >= 0;
    starts.push_back(row.parent < 0 ? 0 : batch.offsets[parent + 1] - batch.offsets[parent]);
    const auto start = static_cast<int32_t>(starts.back());
    batch.tokens.insert(batch.tokens.end(), row.tokens.begin(), row.tokens.end());
    for (size_t i = 0; i < row.tokens.size(); ++i) batch.positions.push_back(start + static_cast<int32_t>(i));
    batch.offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
    pages.push_back(KvCache::pages_for(start + static_cast<int64_t>(row.tokens.size())));
    batch.max_pages = std::max(batch.max_pages, pages.back());
  }
  batch.pages.assign(rows.size() * static_cast<size_t>(batch.max_pages), -1);
  for (size_t s = 0; s < rows.size(); ++s) {
    int32_t* table = batch.pages.data() + static_cast<int64_t>(s) * batch.max_pages;
    const int32_t* above = batch.pages.data() + std::max(rows[s].parent, 0) * batch.max_pages;
    const int64_t shared = starts[s] / kKeyTile;
    std::copy_n(above, shared, table);
    if (families) {
      batch.parents.push_back(rows[s].parent);
      batch.prefixes.push_back(starts[s]);
      batch.tails.push_back(starts[s] % kKeyTile == 0 ? -1 : above[shared]);
    }
    for (int64_t p = shared; p < pages[s]; ++p) table[p] = static_cast<int32_t>(batch.page_count++);
  }
  return batch;
}

WholeBatch whole_batch(std::span<const std::span<const int32_t>> rows) {
  std::vector<WholeRow> list;
  for (const auto& row : rows) list.push_back({row});
  return whole_batch(list);
}

}  // namespace r1
