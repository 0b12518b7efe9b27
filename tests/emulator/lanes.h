// tests/emulator/lanes.h: one function applied to every lane of registers.
#pragma once

#include "tests/emulator/machine.h"

namespace r1::emulator {

// Calls f(lane) for the lanes that take part.
template <class Function>
inline void for_lanes(uint32_t lanes, const Function& f) {
  if (lanes == kAllLanes) {
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    for (int lane = 0; lane < kLanes; ++lane)
      if (lanes >> lane & 1) f(lane);
  }
}

template <class Out, class A, class F>
void map1(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  Out* const out = w.to<Out>(i.o[0]);
  const A* const a = w.from<A>(i.o[1]);
  for_lanes(lanes, [&](int l) { out[l] = f(a[l]); });
}
template <class Out, class A, class B, class F>
void map2(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  Out* const out = w.to<Out>(i.o[0]);
  const A* const a = w.from<A>(i.o[1]);
  const B* const b = w.from<B>(i.o[2]);
  for_lanes(lanes, [&](int l) { out[l] = f(a[l], b[l]); });
}
template <class Out, class A, class B, class C, class F>
void map3(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  Out* const out = w.to<Out>(i.o[0]);
  const A* const a = w.from<A>(i.o[1]);
  const B* const b = w.from<B>(i.o[2]);
  const C* const c = w.from<C>(i.o[3]);
  for_lanes(lanes, [&](int l) { out[l] = f(a[l], b[l], c[l]); });
}

}  // namespace r1::emulator
