// engine/op_runner.h: runs rows by calling the model's ops, on the threads of a CPU or on a GPU.
//
// If a step on the CPU consists of many small ops, each thread takes a part of the batch through the whole
// model, in an arena of its own, for several tokens; otherwise all threads share each op. On a GPU, the ops of
// a step follow each other, and those of a decoding step are launched as one (engine/graph_decoder.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "engine/graph_decoder.h"
#include "engine/head_guesser.h"
#include "engine/lookahead.h"
#include "engine/row_batch.h"
#include "engine/runner.h"
#include "model/lanes.h"
#include "model/memory.h"
#include "model/model.h"
#include "tensor/device_read.h"

namespace r1 {

class OpRunner final : public Runner {
 public:
  // Model and context outlive the runner. `max_batch` is the scheduler's; `lookahead` is the most guesses per
  // step and sequence.
  OpRunner(const Model& model, Context& ctx, int64_t max_batch, int64_t lookahead = 0);

  void resize(int64_t pages, int64_t keep) override;
  int64_t pages() const override { return cache_.pages(); }
  int64_t page_bytes() const override;
  int64_t slice() const override;
  void run(std::span<const ScheduledRow> rows, int64_t steps, RowSink& sink) override;
  void draw_first(std::span<Sequence* const> samples, RowSink& sink) override;
  void drop_logits(int64_t group) override;
  void drop_logits(const Sequence& sample) override;

  int64_t part_bytes() const;  // peak bytes of the parts' arenas
  const LookaheadCounts& lookahead() const { return lookahead_.counts(); }
  GraphDecoder::Counts graphs() const { return graphs_ ? graphs_->counts() : GraphDecoder::Counts{}; }

 private:
  // The working memory of a forward of some rows, kept from one to the next.
  struct Work {
    RowBatch batch;
    std::vector<RowToSample> to_sample;
    std::vector<Sampled> drawn;
  };
  // A thread's share of the rows, with the state to run them alone.
  struct Part {
    explicit Part(Numerics numerics) : lane(numerics) {}
    Lane lane;
    Work work;
    std::vector<ScheduledRow> rows;  // those that still run
    std::exception_ptr failed;
  };

  void forward(Context& ctx, Work& work, std::span<const ScheduledRow> rows, RowSink& sink);
  void hold_logits(Context& ctx, const RowBatch& batch, std::span<const ScheduledRow> rows,
                   const Tensor& logits, RowSink& sink);
  bool goes_in_parts(std::span<const ScheduledRow> rows) const;
  void share_out(std::span<const ScheduledRow> rows);
  void in_parts(const std::function<void(Part&)>& body);
  void forward_part(Part& part, RowSink& sink);
  void guess(std::span<ScheduledRow> rows, bool decode);
  void run_together(std::span<const ScheduledRow> rows, RowSink& sink);
  void draw_guessed(std::span<const ScheduledRow> rows, std::span<const Tensor> logits, RowSink& sink);
  void run_graphs(std::span<const ScheduledRow> rows, int64_t steps, RowSink& sink);
  // A step on a GPU whose tokens have not been taken yet.
  struct Flight {
    std::vector<ScheduledRow> rows;
    std::vector<bool> ended;    // the row's sequence has ended since it was launched
    std::vector<int32_t> from;  // the draws of the step before that are its tokens; empty: the host has them
    size_t read = 0;            // of reads_
  };
  void launch(Flight& flight, std::span<const RowToSample> draws);
  bool launch_next(const Flight& now, Flight& next, const RowSink& sink);
  void take_flight(Flight& flight, RowSink& sink);
  void decode_part(Part& part, int64_t steps, RowSink& sink, std::atomic<bool>& meet);

  const Model& model_;
  Context& ctx_;
  int64_t packed_bytes_;
  bool parted_;          // whether some batches go in parts
  int64_t part_tokens_;  // the most tokens of a part in one pass through the model
  KvCache cache_;
  Work work_;
  std::vector<std::unique_ptr<Part>> parts_;
  // By request: the logits of a prompt's last token, from the end of prefill until its last sample has
  // started.
  std::map<int64_t, Buffer> held_;
  Lookahead lookahead_;
  HeadGuesser head_;
  std::optional<GraphDecoder> graphs_;  // on a GPU
  Buffer drawn_;                        // the draws of the step that was launched last
  std::vector<DeviceRead> reads_;       // of two steps
};

// Bytes of the per-thread arenas of a sampler of this shape, of which all sequences decode. 0: all threads
// share each op of this model, in the context's arena.
int64_t part_activations(const ModelConfig& config, Numerics numerics, const SamplingShape& sampler,
                         const ThreadPool& threads);

}  // namespace r1
