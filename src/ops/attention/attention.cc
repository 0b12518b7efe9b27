#include "ops/attention/attention.h"

#include <algorithm>
#include <cstring>

#include "ops/attention/attention_backend.h"
#include "ops/backend.h"

namespace r1 {
namespace {

void check_shapes(const Context& ctx, const Batch& batch, const KvPages& pages, const Tensor& q,
                  const Tensor& k, const Tensor& v) {
  const int64_t T = batch.T();
  R1_CHECK(q.shape.rank() == 3 && q.dim(0) == T, "q ", q.shape.str(), " T ", T);
  R1_CHECK(k.shape == Shape({T, pages.G, pages.K}), "k ", k.shape.str(), " G ", pages.G, " K ", pages.K);
  R1_CHECK(v.shape == Shape({T, pages.G, pages.V}), "v ", v.shape.str(), " G ", pages.G, " V ", pages.V);
  R1_CHECK(q.dim(2) == pages.K && pages.G > 0 && q.dim(1) % pages.G == 0, "q ", q.shape.str(), " G ",
           pages.G);
  R1_CHECK(pages.dtype == ctx.row().cache, "pages of ", name_of(pages.dtype), " with ",
           name_of(ctx.numerics));
  R1_CHECK(ctx.tape == nullptr || has_gradients(ctx.numerics), "no gradients with ", name_of(ctx.numerics));
  if (!pages.values_in_keys || T == 0) return;
  R1_CHECK(pages.V <= pages.K && k.dtype == v.dtype, "V ", pages.V, " in keys of ", pages.K);
  if (ctx.measuring || ctx.device != Device::cpu) return;  // the first token's values are compared
  R1_CHECK(std::memcmp(k.data, v.data, static_cast<size_t>(pages.V) * size_of(v.dtype)) == 0,
           "pages hold values in their keys, but v is not k's first ", pages.V, " columns");
}

void check_parent(const Batch& batch, int64_t s, int64_t first) {
  const int64_t parent = batch.parent(s);
  if (parent < 0) return;
  // The rows of a family are consecutive: the row before is the parent or another child of it.
  R1_CHECK(parent < s && batch.parent(parent) < 0 && (parent == s - 1 || batch.parent(s - 1) == parent),
           "row ", s, " has parent ", parent);
  const int64_t start = batch.offsets[static_cast<size_t>(parent)];
  R1_CHECK(batch.offsets[static_cast<size_t>(parent + 1)] - start == first && batch.prefix(s) == first &&
               batch.positions[static_cast<size_t>(start)] == 0,
           "row ", s, " goes on from position ", first, " after a prefix of ", batch.prefix(s),
           ", its parent starts at ", batch.positions[static_cast<size_t>(start)]);
}

void check_rows(const Context& ctx, const Batch& batch) {
  R1_CHECK(static_cast<int64_t>(batch.positions.size()) == batch.T() && batch.S() >= 0, "positions ",
           batch.positions.size(), " T ", batch.T());
  R1_CHECK(batch.offsets[0] == 0 && batch.offsets.back() == batch.T(), "offsets end at ",
           batch.offsets.back());
  for (int64_t s = 0; s < batch.S(); ++s) {
    const int64_t begin = batch.offsets[static_cast<size_t>(s)],
                  n = batch.offsets[static_cast<size_t>(s + 1)] - begin;
    R1_CHECK(n >= 0, "row ", s, " has ", n, " tokens");
    if (n == 0) continue;
    const int64_t first = batch.positions[static_cast<size_t>(begin)];
    const int64_t last = batch.positions[static_cast<size_t>(begin + n - 1)];
    R1_CHECK(first >= 0 && last == first + n - 1, "row ", s, " positions ", first, " to ", last);
    R1_CHECK(last / kKeyTile < batch.max_pages &&
                 (s + 1) * batch.max_pages <= static_cast<int64_t>(batch.pages.size()),
             "row ", s, " position ", last, " max_pages ", batch.max_pages);
    R1_CHECK(batch.prefix(s) <= first && (batch.tail(s) >= 0) == (batch.prefix(s) % kKeyTile != 0), "row ", s,
             " starts at ", first, ", its prefix is ", batch.prefix(s), ", its tail ", batch.tail(s));
    check_parent(batch, s, first);
    R1_CHECK(ctx.tape == nullptr || first == 0 || batch.parent(s) >= 0,
             "a tape wants rows from position 0 or a parent's end; row ", s, " starts at ", first);
  }
}

// The batch may be gone when the tape runs.
const int32_t* copied(Context& ctx, std::span<const int32_t> values) {
  if (values.empty()) return nullptr;
  int32_t* to = ctx.host().array<int32_t>(std::ssize(values));
  std::ranges::copy(values, to);
  return to;
}

}  // namespace

Tensor attention(Context& ctx, const Batch& batch, const KvPages& pages, const Tensor& q, const Tensor& k,
                 const Tensor& v, float scale) {
  check_shapes(ctx, batch, pages, q, k, v);
  check_rows(ctx, batch);
  const Shape shape{batch.T(), q.dim(1), pages.V};
  const Tensor out = ctx.output(shape, ctx.activations());
  AttentionSaved saved;
  if (ctx.tape != nullptr) {
    saved.maxima = ctx.arena.array<float>(batch.T() * q.dim(1));
    saved.sums = ctx.arena.array<float>(batch.T() * q.dim(1));
    saved.out = out.dtype == DType::f32 ? out : ctx.arena.tensor(shape);
  }
  R1_BACKEND(ctx, attention_forward,
             (AttentionForward{.batch = batch,
                               .pages = pages,
                               .q = q,
                               .k = k,
                               .v = v,
                               .out = out,
                               .scale = scale,
                               .saved = saved}));
  if (ctx.tape == nullptr) return out;

  const int32_t* offsets = copied(ctx, batch.offsets);
  const int32_t* parents = copied(ctx, batch.parents);
  ctx.tape->record([=, S = batch.S()](Context& c) {
    const Tensor d_out = c.tape->grad(out);
    if (!d_out || q.dim(0) == 0) return;
    AttentionBackward call{
        .q = q, .k = k, .v = v, .d_out = d_out, .scale = scale, .saved = saved, .pages = pages};
    call.S = S;
    call.offsets = offsets;
    call.parents = parents;
    call.dq = c.tape->slot(q);
    call.dk = c.tape->slot(k);
    if (!R1_BACKEND(c, values_gradient_in_keys, pages)) call.dv = c.tape->slot(v);
    R1_BACKEND(c, attention_backward, call);
  });
  return out;
}

Tensor attention_of_projected(Context& ctx, const Batch& batch, const KvPages& pages,
                              const ProjectedHeads& heads, float scale) {
  PlaceHeads place{.batch = batch, .pages = pages, .heads = heads, .turned = {}};
  if (ctx.tape != nullptr || !R1_BACKEND(ctx, has_place_heads, place)) return {};
  check_shapes(ctx, batch, pages, heads.q, heads.k, heads.v);
  check_rows(ctx, batch);
  heads.rotary.table->check(heads.rotary.positions);
  const Tensor out = ctx.arena.tensor(Shape{batch.T(), heads.q.dim(1), pages.V}, ctx.activations());
  if (R1_BACKEND(ctx, attend_heads, (AttendHeads{batch, pages, heads, out, scale}))) return out;
  const OpScope scope(ctx);
  place.turned = ctx.arena.tensor(heads.q.shape, ctx.activations());
  R1_BACKEND(ctx, place_heads, place);
  R1_BACKEND(
      ctx, attention_forward,
      (AttentionForward{
          .batch = batch, .pages = pages, .q = place.turned, .k = {}, .v = {}, .out = out, .scale = scale}));
  return out;
}

bool places_latents(Context& ctx, const Batch& batch, const KvPages& pages) {
  return ctx.tape == nullptr &&
         R1_BACKEND(ctx, has_place_latents, (LatentPagesOf{.batch = batch, .pages = pages}));
}

void place_latents(Context& ctx, const Batch& batch, const KvPages& pages, const ProjectedLatents& latents,
                   const Tensor& absorbed) {
  check_rows(ctx, batch);
  const int64_t P = latents.rotary.width();
  R1_CHECK(latents.compressed.shape == Shape({batch.T(), pages.K}) && pages.K == pages.V + P &&
               latents.q.dim(2) >= P && absorbed.shape == Shape({batch.T(), latents.q.dim(1), pages.K}),
           "latents ", latents.compressed.shape.str(), " and ", latents.q.shape.str(), " into ",
           absorbed.shape.str(), ", K ", pages.K);
  latents.rotary.table->check(latents.rotary.positions);
  R1_BACKEND(ctx, place_latents,
             (PlaceLatents{.batch = batch, .pages = pages, .latents = latents, .absorbed = absorbed}));
}

Tensor attention_of_placed(Context& ctx, const Batch& batch, const KvPages& pages, const Tensor& q,
                           float scale) {
  R1_CHECK(ctx.tape == nullptr && q.dim(0) == batch.T() && q.dim(2) == pages.K, "q ", q.shape.str());
  const Tensor out = ctx.arena.tensor(Shape{batch.T(), q.dim(1), pages.V}, ctx.activations());
  R1_BACKEND(ctx, attention_forward,
             (AttentionForward{
                 .batch = batch, .pages = pages, .q = q, .k = {}, .v = {}, .out = out, .scale = scale}));
  return out;
}

}  // namespace r1
