// engine/graph_decoder.h: the forward of decoding steps on a GPU. Its launches are recorded once for a number of rows
// and of pages, and the host launches them as one. What differs from step to step lies in lists that are sent once
// per step and read by all layers.
//
// A recorded shape costs memory of the host and the device, so a limited number is kept; the one that was used least
// recently makes room.
//
// Rows are padded to the next recorded number by rows at position -1, which read and write no page. No bit of a
// row depends on that. A shape's first step runs launch by launch, so that memory and kernels are there when its
// second step records.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/scheduler.h"
#include "model/model.h"
#include "tensor/device_graph.h"

namespace r1 {

class GraphDecoder {
 public:
  // 2,048 rows have 46 shapes for each of the numbers of pages, few of which occur in a run.
  static constexpr int64_t kMostShapes = 128;
  // Model and context outlive the decoder. The context's device is a GPU. It keeps at most `most_shapes` recorded
  // shapes, at least 2, because the step before the last may still run.
  GraphDecoder(const Model& model, Context& ctx, int64_t most_shapes = kMostShapes);

  // Runs the model over rows of one token each, whose keys and values go to `cache`. Returns logits [R, V], R at
  // least the number of rows, in their order. They lie in the context's arena: call it inside an OpScope.
  Tensor forward(std::span<const ScheduledRow> rows, const KvCache& cache) {
    return forward(rows, cache, {}, {});
  }
  // Runs rows whose tokens are not on the host: row i's token is that of draw from[i] of `drawn`
  // (sample_rows_into).
  Tensor forward(std::span<const ScheduledRow> rows, const KvCache& cache, const Tensor& drawn,
                 std::span<const int32_t> from);

  // The rows and pages that a step is padded to.
  static int64_t padded_rows(int64_t rows);
  static int64_t padded_pages(int64_t pages);

  struct Counts {
    int64_t recorded = 0, launched = 0, eager = 0;  // shapes recorded, steps of recorded shapes, other steps
    int64_t launches = 0;                           // in the shape that was recorded last
    int64_t kept = 0;                               // shapes
  };
  const Counts& counts() const { return counts_; }
  // The kernels of the shape that was recorded last; none if there is no such shape.
  std::vector<DeviceGraph::KernelTime> kernel_times() const;

 private:
  struct Step {
    Step(int64_t rows, int64_t pages, int64_t positions, Memory& memory);
    void fill(std::span<const ScheduledRow> rows);
    Batch shape() const { return {tokens, positions, offsets, table, pages, prefixes, tails}; }

    int64_t rows, pages;
    int64_t used = 0;  // the number of the step that used it last
    // The host's lists, of the sizes that ops check. The device's differ.
    std::vector<int32_t> tokens, positions, offsets, table, tails;
    std::vector<int64_t> prefixes;
    std::vector<int32_t> words;  // the device's lists as they are sent
    Buffer sent;
    Tensor sent_tokens;  // in `sent`
    DeviceLists lists;
    bool warm = false;
    size_t begin = 0, end = 0;  // marks of the arena around the step
    Tensor logits;
    std::optional<DeviceGraph> graph;
  };

  Step& step_for(std::span<const ScheduledRow> rows, const KvCache& cache);
  void make_room();
  void compute(Step& step, const KvCache& cache);

  const Model& model_;
  Context& ctx_;
  int64_t most_shapes_, used_ = 0;
  uint64_t places_ = 0;                                                 // of what the recorded launches read
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Step>> steps_;  // by rows and pages
  const Step* last_ = nullptr;                                          // that was recorded
  Counts counts_;
};

}  // namespace r1
