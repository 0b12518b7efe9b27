#include "engine/speed.h"

#include <chrono>
#include <cstring>
#include <deque>
#include <optional>
#include <vector>

#include "base/error.h"
#include "engine/op_runner.h"
#include "tensor/workspace.h"

namespace r1 {
namespace {

// The host's memory, but its allocations hold small numbers in place of zeros: pages of zeros that were never written
// share one page, so that reading them would cost nothing.
class FilledMemory final : public Memory {
 public:
  Device device() const override { return Device::cpu; }
  void* reserve(size_t bytes) override { return base_.reserve(bytes); }
  void commit(void* base, size_t bytes) override { base_.commit(base, bytes); }
  void release(void* base, size_t reserved) override { base_.release(base, reserved); }
  void* allocate(size_t bytes) override {
    constexpr int kByte = 0x3C;  // 0x3C3C is 0.0115 in bf16, and so is 0x3C3C3C3C in f32
    void* at = base_.allocate(bytes);
    std::memset(at, kByte, bytes);
    return at;
  }
  void free(void* at, size_t bytes) override { base_.free(at, bytes); }
  void write(void* to, const void* host, size_t bytes, void* stream) override {
    base_.write(to, host, bytes, stream);
  }
  void read(void* host, const void* from, size_t bytes, void* stream) override {
    base_.read(host, from, bytes, stream);
  }
  void copy(void* to, const void* from, size_t bytes, void* stream) override {
    base_.copy(to, from, bytes, stream);
  }
  void zero(void* at, size_t bytes, void* stream) override { base_.zero(at, bytes, stream); }
  size_t free_bytes() const override { return base_.free_bytes(); }

 private:
  Memory& base_ = host_memory();
};

class GreedySink final : public RowSink {
 public:
  RowToSample draw_of(const Sequence&) const override { return {.logits = {}, .params = &params_}; }
  std::optional<RowToSample> draw_after(const Sequence& s) const override { return draw_of(s); }
  bool take(Sequence& sequence, const Sampled& sampled) override {
    sequence.tokens.push_back(sampled.token);
    return false;
  }

 private:
  SamplingParams params_{.temperature = 0.0f};
};

}  // namespace

struct SpeedMeter::Impl {
  Impl(const Model& model, ThreadPool& threads, Numerics numerics, int64_t sequences, int64_t positions,
       bool exact)
      : work(packed(model, threads, numerics), numerics, memory_for(model)),
        runner(model, work.ctx, sequences),
        pages_each(KvCache::pages_for(positions)) {
    work.ctx.exact = exact;
    runner.resize(sequences * pages_each, false);
  }

  // Copies for a GPU, which the model keeps, outlive this: they lie in the model's own memory.
  Memory& memory_for(const Model& model) {
    return model.memory().device() == Device::cpu ? filled : model.memory();
  }

  // The kernels' copies of the weights outlive this, so they are not made in `filled`.
  static ThreadPool& packed(const Model& model, ThreadPool& threads, Numerics numerics) {
    Workspace own(threads, numerics, model.memory());
    model.pack(own.ctx);
    return threads;
  }

  // Sequences of depth computed tokens and `fresh` further ones.
  void prepare(int64_t batch, int64_t depth, int64_t fresh) {
    R1_CHECK(batch * pages_each <= runner.pages(), batch, " sequences");
    sequences.clear();
    rows.clear();
    for (int64_t i = 0; i < batch; ++i) {
      Sequence& s = sequences.emplace_back();
      s.group = &group;
      s.computed = depth;
      s.tokens.assign(static_cast<size_t>(depth + fresh), static_cast<int32_t>(i % 7));
      for (int64_t page = 0; page < pages_each; ++page)
        s.pages.push_back(static_cast<int32_t>(i * pages_each + page));
      rows.push_back({.sequence = &s, .begin = depth, .end = depth + fresh});
    }
  }

  // One run of the runner. Returns the tokens that the first sequence got.
  int64_t run(int64_t steps) {
    const int64_t before = sequences.front().size();
    runner.run(rows, steps, sink);
    for (ScheduledRow& row : rows)
      row = {.sequence = row.sequence, .begin = row.sequence->computed, .end = row.sequence->size()};
    return sequences.front().size() - before;
  }

  FilledMemory filled;
  Workspace work;
  OpRunner runner;
  int64_t pages_each;
  Group group;
  std::deque<Sequence> sequences;
  std::vector<ScheduledRow> rows;
  GreedySink sink;
};

SpeedMeter::SpeedMeter(const Model& model, ThreadPool& threads, Numerics numerics, int64_t sequences,
                       int64_t positions, bool exact)
    : impl_(std::make_unique<Impl>(model, threads, numerics, sequences, positions, exact)) {}
SpeedMeter::~SpeedMeter() = default;

double SpeedMeter::decode_step(int64_t batch, int64_t depth, int64_t steps) {
  impl_->prepare(batch, depth, 1);
  const auto begin = std::chrono::steady_clock::now();
  int64_t done = 0;
  while (done < steps) done += impl_->run(steps - done);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
         static_cast<double>(done);
}

double SpeedMeter::prefill(int64_t batch, int64_t depth, int64_t tokens) {
  impl_->prepare(batch, depth, tokens);
  const auto begin = std::chrono::steady_clock::now();
  impl_->run(1);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t SpeedMeter::cache_bytes(const ModelConfig& config, Numerics numerics, int64_t sequences,
                                int64_t positions) {
  return sequences * KvCache::pages_for(positions) * KvCache::bytes_per_page(config, row_of(numerics).cache);
}

}  // namespace r1
