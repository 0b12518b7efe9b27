#include "model/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace r1 {
namespace {

KvPages shape_of(const ModelConfig& config) {
  KvPages pages;
  pages.G = config.cache_heads();
  pages.K = config.cache_key();
  pages.V = config.cache_value();
  return pages;
}

std::vector<KvPages> cut(const ModelConfig& config, int64_t pages, float* data) {
  std::vector<KvPages> layers;
  for (int64_t i = 0; i < config.layers; ++i) {
    KvPages layer = shape_of(config);
    layer.data = data + i * pages * layer.page_floats();
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t pages)
    : pages_(pages), storage_(Shape{config.layers, pages, shape_of(config).page_floats()}, DType::f32) {
  layers_ = cut(config, pages, storage_.tensor().f32());
}

KvCache::KvCache(const ModelConfig& config, int64_t pages, Arena& arena) : pages_(pages) {
  layers_ = cut(config, pages, arena.array<float>(config.layers * pages * shape_of(config).page_floats()));
}

void KvCache::copy_page(int64_t from, int64_t to) {
  R1_CHECK(from >= 0 && from < pages_ && to >= 0 && to < pages_, "page ", from, " to ", to, " of ", pages_);
  for (const KvPages& layer : layers_) {
    std::memcpy(layer.data + to * layer.page_floats(), layer.data + from * layer.page_floats(),
                static_cast<size_t>(layer.page_floats()) * sizeof(float));
  }
}

int64_t KvCache::bytes_per_page(const ModelConfig& config) {
  return config.layers * shape_of(config).page_floats() * static_cast<int64_t>(sizeof(float));
}

WholeBatch whole_batch(std::span<const std::span<const int32_t>> rows) {
  WholeBatch batch;
  batch.offsets.push_back(0);
  for (const auto& row : rows) {
    batch.max_pages = std::max(batch.max_pages, KvCache::pages_for(static_cast<int64_t>(row.size())));
  }
  for (const auto& row : rows) {
    batch.tokens.insert(batch.tokens.end(), row.begin(), row.end());
    for (size_t i = 0; i < row.size(); ++i) batch.positions.push_back(static_cast<int32_t>(i));
    batch.offsets.push_back(static_cast<int32_t>(batch.tokens.size()));
    const int64_t pages = KvCache::pages_for(static_cast<int64_t>(row.size()));
    for (int64_t p = 0; p < batch.max_pages; ++p) {
      batch.pages.push_back(p < pages ? static_cast<int32_t>(batch.page_count + p) : -1);
    }
    batch.page_count += pages;
  }
  return batch;
}

}  // namespace r1
