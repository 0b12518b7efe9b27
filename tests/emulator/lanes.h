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

// Writes f(lane) to the lanes that take part. All are computed first, so that registers that lie in one place do not keep
// the compiler from making vectors of them.
template <class Out, class F>
inline void set_lanes(Out* out, uint32_t lanes, const F& f) {
  if (lanes == kAllLanes) {
    Out results[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) results[lane] = f(lane);
    std::memcpy(out, results, sizeof results);
  } else {
    for_lanes(lanes, [&](int lane) { out[lane] = f(lane); });
  }
}

// What orders, hints and fences do here.
inline void nothing(Warp&, const Inst&, uint32_t) {}

template <class Out, class A, class F>
void map1(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  const A* const a = w.from<A>(i.o[1]);
  set_lanes(w.to<Out>(i.o[0]), lanes, [&](int l) { return f(a[l]); });
}
template <class Out, class A, class B, class F>
void map2(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  const A* const a = w.from<A>(i.o[1]);
  const B* const b = w.from<B>(i.o[2]);
  set_lanes(w.to<Out>(i.o[0]), lanes, [&](int l) { return f(a[l], b[l]); });
}
template <class Out, class A, class B, class C, class F>
void map3(Warp& w, const Inst& i, uint32_t lanes, const F& f) {
  const A* const a = w.from<A>(i.o[1]);
  const B* const b = w.from<B>(i.o[2]);
  const C* const c = w.from<C>(i.o[3]);
  set_lanes(w.to<Out>(i.o[0]), lanes, [&](int l) { return f(a[l], b[l], c[l]); });
}

}  // namespace r1::emulator
