#include "ops/mla/mla.h"

#include "ops/backend.h"
#include "ops/convert/convert.h"
#include "ops/mla/mla_backend.h"

namespace r1 {
namespace {

// x [T, H, width]: its first `columns` of each head are the input of parts [first, first + H) of kv_b.
void observe_heads(Context& ctx, const Tensor& x, const LatentWeight& w, int64_t first, int64_t columns) {
  if (ctx.inputs == nullptr || ctx.measuring) return;
  const OpScope scope(ctx);
  const int64_t T = x.dim(0), H = x.dim(1), width = x.dim(2);
  const float* values = as_f32(ctx, x);
  for (int64_t h = 0; h < H; ++h)
    ctx.inputs->see(w.kv_b().name, first + h, 2 * H, values + h * width, T, columns, H * width);
}

}  // namespace

Tensor absorb_query(Context& ctx, const Tensor& q, const LatentWeight& w, const Rotary& rotary) {
  const int64_t H = w.heads(), n = w.nope(), R = w.latent();
  R1_CHECK(q.shape.rank() == 3 && q.dim(1) == H && q.dim(2) >= n, w.kv_b().name, " q ", q.shape.str(),
           " heads ", H, " nope ", n);
  const int64_t T = q.dim(0), P = q.dim(2) - n;
  R1_CHECK(rotary.width() == P && std::ssize(rotary.positions) == T, w.kv_b().name, " q ", q.shape.str(),
           " rotary width ", rotary.width(), ", ", rotary.positions.size(), " positions");
  observe_heads(ctx, q, w, 0, n);
  const Tensor out = ctx.output({T, H, R + P}, ctx.activations());
  R1_BACKEND(ctx, absorb_query, (AbsorbQuery{.q = q, .out = out, .w = &w, .rotary = rotary}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([q, out, weight = &w, rotary](Context& c) {
      const Tensor dout = c.tape->grad(out);
      if (!dout) return;
      const GradSlot dq = c.tape->slot(q);
      R1_BACKEND(c, absorb_query_backward,
                 (AbsorbQueryBackward{.q = q, .dout = dout, .w = weight, .rotary = rotary, .dq = dq}));
    });
  }
  return out;
}

void absorb_into(Context& ctx, const Tensor& q, const LatentWeight& w, const Tensor& out) {
  R1_CHECK(
      ctx.tape == nullptr && q.dim(1) == w.heads() && out.dim(1) == w.heads() && out.dim(2) >= w.latent(),
      w.kv_b().name, " q ", q.shape.str(), " out ", out.shape.str());
  R1_BACKEND(ctx, absorb_into, (AbsorbInto{.q = q, .out = out, .w = &w}));
}

Tensor latent_key(Context& ctx, const Tensor& c, const Tensor& compressed, const Rotary& rotary) {
  const int64_t T = c.dim(0), R = c.dim(1), P = rotary.width();
  R1_CHECK(compressed.shape == Shape({T, R + P}) && std::ssize(rotary.positions) == T, "key of ",
           c.shape.str(), " and ", compressed.shape.str(), ", rotary width ", P, ", ",
           rotary.positions.size(), " positions");
  const Tensor key = ctx.output({T, R + P}, ctx.activations());
  R1_BACKEND(ctx, latent_key, (LatentKey{.c = c, .compressed = compressed, .key = key, .rotary = rotary}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([=](Context& b) {
      const Tensor dkey = b.tape->grad(key);
      if (!dkey) return;
      const GradSlot dcompressed = b.tape->slot(compressed), dc = b.tape->slot(c);
      R1_BACKEND(b, latent_key_backward,
                 (LatentKeyBackward{.dkey = dkey, .rotary = rotary, .dcompressed = dcompressed, .dc = dc}));
    });
  }
  return key;
}

Tensor expand_value(Context& ctx, const Tensor& o, const LatentWeight& w) {
  const int64_t H = w.heads(), v = w.value(), R = w.latent();
  R1_CHECK(o.shape.rank() == 3 && o.dim(1) == H && o.dim(2) == R, w.kv_b().name, " o ", o.shape.str(),
           " heads ", H, " latent ", R);
  observe_heads(ctx, o, w, H, R);
  const Tensor out = ctx.output({o.dim(0), H, v}, ctx.activations());
  R1_BACKEND(ctx, expand_value, (ExpandValue{.o = o, .out = out, .w = &w}));
  if (ctx.tape != nullptr) {
    ctx.tape->record([o, out, weight = &w](Context& c) {
      const Tensor dout = c.tape->grad(out);
      if (!dout) return;
      const GradSlot d_o = c.tape->slot(o);
      R1_BACKEND(c, expand_value_backward,
                 (ExpandValueBackward{.o = o, .dout = dout, .w = weight, .d_o = d_o}));
    });
  }
  return out;
}

}  // namespace r1
