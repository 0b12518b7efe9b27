// model/recompute.cc: activation checkpointing (Chen et al. 2016, arXiv 1604.06174).
//
// Only the input of each layer stays until the backward; the layer then runs once more, with a tape of its own.
// The second forward has the first one's bits, and gradients are added in the order of the batch, so no bit
// differs from a backward that kept everything.
#include "model/model.h"
#include "tensor/transfer.h"

namespace r1 {
namespace {

// One layer and what its forward reads. The tape's closures hold it by value.
struct LayerCall {
  const Block* block;
  Batch batch;
  KvPages kv;
  const RopeTable* rope;
  MoeTraining training;

  Tensor forward(Context& ctx, const Tensor& x) const {
    return block->forward(ctx, batch, kv, *rope, x, training);
  }
};

// Runs the layer again and then backwards: the gradient of y -> the gradient of x. `layer` is the tape of the
// second run.
void differentiate_layer(Context& ctx, const LayerCall& call, const Tensor& x, const Tensor& y, Tape& layer) {
  const Tensor dy = ctx.tape->grad(y);
  const GradSlot dx = ctx.tape->slot(x);
  R1_CHECK(dy && dx && !dx.accumulate, "a layer's input feeds that layer alone");
  const OpScope scope(ctx);
  layer.clear();
  Context again = ctx;
  again.tape = &layer;
  Tensor input = x;
  layer.name(input);
  layer.record(
      [input, to = dx.grad](Context& c) { copy_values(c.memory(), c.tape->grad(input), to, c.stream); });
  const Tensor output = call.forward(again, input);
  copy_values(ctx.memory(), dy, layer.slot(output).grad, ctx.stream);
  ctx.tape->await_turn();  // once for the whole layer
  layer.backward(again);
}

}  // namespace

Tensor Model::forward_recomputed(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& embedded,
                                 const RouterTraining& training, Tape& layer) const {
  Tensor x = embedded;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    LayerCall call{.block = &blocks_[i],
                   .batch = batch,
                   .kv = kv.layer(static_cast<int64_t>(i)),
                   .rope = &rope_,
                   .training = layer_training(training, i)};
    const Tensor y = ctx.output(x.shape, x.dtype);
    Context without_tape = ctx;
    without_tape.tape = nullptr;
    Tensor in_place = y;
    in_place.node = -1;
    copy_values(ctx.memory(), x, in_place, ctx.stream);
    call.forward(without_tape, in_place);
    call.training.stats = nullptr;  // counted once
    call.training.balance_loss = nullptr;
    ctx.tape->record([call, x, y, to = &layer](Context& c) { differentiate_layer(c, call, x, y, *to); });
    x = y;
  }
  return x;
}

}  // namespace r1
