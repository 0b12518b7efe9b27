// ops/mla/mla_backend.h: what mla.cc asks of a backend. Private to this folder. Shapes are those of mla.h.
#pragma once

#include "ops/mla/mla.h"

namespace r1 {

struct AbsorbQuery {
  Tensor q, out;
  const LatentWeight* w = nullptr;
  const Rotary& rotary;
};
// Its first R columns alone, in bf16.
struct AbsorbInto {
  Tensor q, out;
  const LatentWeight* w = nullptr;
};
struct AbsorbQueryBackward {
  Tensor q, dout;
  const LatentWeight* w = nullptr;
  const Rotary& rotary;
  GradSlot dq;  // no data: not needed
};

struct LatentKey {
  Tensor c, compressed, key;
  const Rotary& rotary;
};
// c and the rotary columns of compressed get the gradient of their part of the key. The other columns of
// compressed become zeros if it has no gradient yet.
struct LatentKeyBackward {
  Tensor dkey;
  const Rotary& rotary;
  GradSlot dcompressed, dc;  // no data: not needed
};

struct ExpandValue {
  Tensor o, out;
  const LatentWeight* w = nullptr;
};
struct ExpandValueBackward {
  Tensor o, dout;
  const LatentWeight* w = nullptr;
  GradSlot d_o;  // no data: not needed
};

namespace cpu {
void absorb_query(Context& ctx, const AbsorbQuery& call);
inline void absorb_into(Context&, const AbsorbInto&) {
  R1_CHECK(false, "the CPU has no absorb_into");
}
void absorb_query_backward(Context& ctx, const AbsorbQueryBackward& call);
void latent_key(Context& ctx, const LatentKey& call);
void latent_key_backward(Context& ctx, const LatentKeyBackward& call);
void expand_value(Context& ctx, const ExpandValue& call);
void expand_value_backward(Context& ctx, const ExpandValueBackward& call);
}  // namespace cpu

namespace cuda {
void absorb_query(Context& ctx, const AbsorbQuery& call);
void absorb_into(Context& ctx, const AbsorbInto& call);
void absorb_query_backward(Context& ctx, const AbsorbQueryBackward& call);
void latent_key(Context& ctx, const LatentKey& call);
void latent_key_backward(Context& ctx, const LatentKeyBackward& call);
void expand_value(Context& ctx, const ExpandValue& call);
void expand_value_backward(Context& ctx, const ExpandValueBackward& call);
}  // namespace cuda

}  // namespace r1
