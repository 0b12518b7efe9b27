// ops/rope/rope_table.cc: the cosines and sines of every position, made on the host.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "base/math.h"
#include "ops/rope/rope.h"

namespace r1 {

struct RopeTable::Blocks {
  std::vector<float> inv_freq;
  float attention_factor = 1.0f;
  std::mutex making;
  std::vector<std::unique_ptr<float[]>> memory;        // by block; null until the block is made
  std::unique_ptr<std::atomic<const float*>[]> ready;  // the same pointers, for readers
  std::mutex copying;
  struct Copy {
    Memory* memory;
    int64_t blocks;
    Buffer values;
  };
  std::vector<Copy> copies;  // at most one per memory
};

RopeTable::RopeTable(std::span<const float> inv_freq, float attention_factor, int64_t max_positions)
    : blocks_(std::make_shared<Blocks>()), pairs_(std::ssize(inv_freq)), max_positions_(max_positions) {
  const auto count = static_cast<size_t>((max_positions + kBlock - 1) / kBlock);
  blocks_->inv_freq.assign(inv_freq.begin(), inv_freq.end());
  blocks_->attention_factor = attention_factor;
  blocks_->memory.resize(count);
  blocks_->ready = std::make_unique<std::atomic<const float*>[]>(count);
}

const float* RopeTable::block(int64_t position) const {
  const int64_t index = position / kBlock;
  const float* made = blocks_->ready[static_cast<size_t>(index)].load(std::memory_order_acquire);
  return made != nullptr ? made : make_block(index);
}

const float* RopeTable::make_block(int64_t index) const {
  const std::lock_guard lock(blocks_->making);
  std::unique_ptr<float[]>& memory = blocks_->memory[static_cast<size_t>(index)];
  if (memory) return memory.get();  // another thread was first
  auto made = std::make_unique<float[]>(static_cast<size_t>(2 * kBlock * pairs_));
  const float factor = blocks_->attention_factor;
  for (int64_t p = 0; p < kBlock; ++p) {
    for (int64_t i = 0; i < pairs_; ++i) {
      const float angle = static_cast<float>(index * kBlock + p) * blocks_->inv_freq[static_cast<size_t>(i)];
      double sine = 0, cosine = 0;
      exact_sincos(static_cast<double>(angle), &sine, &cosine);
      made[static_cast<size_t>(p * pairs_ + i)] = static_cast<float>(cosine) * factor;
      made[static_cast<size_t>((kBlock + p) * pairs_ + i)] = static_cast<float>(sine) * factor;
    }
  }
  memory = std::move(made);
  blocks_->ready[static_cast<size_t>(index)].store(memory.get(), std::memory_order_release);
  return memory.get();
}

const float* RopeTable::copy_in(Memory& memory, int64_t count) const {
  const std::lock_guard lock(blocks_->copying);
  std::vector<Blocks::Copy>& copies = blocks_->copies;
  auto copy = std::ranges::find(copies, &memory, &Blocks::Copy::memory);
  if (copy == copies.end()) copy = copies.insert(copies.end(), {&memory, 0, {}});
  const int64_t all = (max_positions_ + kBlock - 1) / kBlock, needed = (count + kBlock - 1) / kBlock;
  R1_CHECK(needed <= all, count, " positions of ", max_positions_);
  if (needed > copy->blocks) {
    const int64_t floats = 2 * kBlock * pairs_;
    copy->blocks = std::min(all, std::max(needed, 2 * copy->blocks));
    copy->values = Buffer({copy->blocks, floats}, DType::f32, memory);
    for (int64_t i = 0; i < copy->blocks; ++i) {  // without a stream: any stream may read the copy
      memory.write(copy->values.tensor().f32() + i * floats, block(i * kBlock),
                   static_cast<size_t>(floats) * sizeof(float));
    }
  }
  return copy->values.tensor().f32();
}

void RopeTable::check(std::span<const int32_t> positions) const {
  for (const int32_t p : positions)
    R1_CHECK(p >= 0 && p < max_positions_, "position ", p, " of ", max_positions_);
}

}  // namespace r1
