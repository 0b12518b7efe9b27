// tests/emulator/ops.cc: arithmetic, logic and what the threads of a warp tell each other.
#include "tests/emulator/ops.h"

#include <bit>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "tests/emulator/lanes.h"

namespace r1::emulator {
namespace {

using Rules = std::unordered_map<std::string, Rule>;

template <class T>
constexpr const char* kLetter = sizeof(T) == 2   ? "h"
                                : sizeof(T) == 4 ? "w"
                                                 : "d";

template <class T, auto kF>
void add_binary(Rules& rules, const std::string& name) {
  const std::string letter = kLetter<T>;
  rules[name] = {letter + letter + letter,
                 [](Warp& w, const Inst& i, uint32_t lanes) { map2<T, T, T>(w, i, lanes, kF); }};
}
template <class T, auto kF>
void add_unary(Rules& rules, const std::string& name) {
  const std::string letter = kLetter<T>;
  rules[name] = {letter + letter,
                 [](Warp& w, const Inst& i, uint32_t lanes) { map1<T, T>(w, i, lanes, kF); }};
}
template <class T, auto kF>
void add_shift(Rules& rules, const std::string& name) {
  const std::string letter = kLetter<T>;
  rules[name] = {letter + letter + "w",
                 [](Warp& w, const Inst& i, uint32_t lanes) { map2<T, T, uint32_t>(w, i, lanes, kF); }};
}

template <class T>
constexpr unsigned kBits = sizeof(T) * 8;

// NaN gives the other; -0 is less than 0.
template <class T>
T less_of(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a == b ? (std::signbit(a) ? a : b) : (a < b ? a : b);
}
template <class T>
T greater_of(T a, T b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a == b ? (std::signbit(a) ? b : a) : (a > b ? a : b);
}

template <class T>
void add_integers(Rules& r, const std::string& s, const std::string& u) {  // "s32", "u32"
  using S = std::make_signed_t<T>;
  for (const std::string& name : {s, u}) {
    add_binary<T, [](T a, T b) -> T { return static_cast<T>(a + b); }>(r, "add." + name);
    add_binary<T, [](T a, T b) -> T { return static_cast<T>(a - b); }>(r, "sub." + name);
    add_binary<T, [](T a, T b) -> T { return static_cast<T>(uint64_t{a} * b); }>(r, "mul.lo." + name);
    const std::string l = kLetter<T>;
    r["mad.lo." + name] = {
        l + l + l + l, [](Warp& w, const Inst& i, uint32_t lanes) {
          map3<T, T, T, T>(w, i, lanes, [](T a, T b, T c) { return static_cast<T>(uint64_t{a} * b + c); });
        }};
  }
  add_unary<T, [](T a) -> T { return static_cast<T>(0 - a); }>(r, "neg." + s);
  add_unary<S, [](S a) -> S { return a < 0 ? static_cast<S>(T{0} - static_cast<T>(a)) : a; }>(r, "abs." + s);
  add_binary<S, [](S a, S b) -> S { return a < b ? a : b; }>(r, "min." + s);
  add_binary<S, [](S a, S b) -> S { return b < a ? a : b; }>(r, "max." + s);
  add_binary<T, [](T a, T b) -> T { return a < b ? a : b; }>(r, "min." + u);
  add_binary<T, [](T a, T b) -> T { return b < a ? a : b; }>(r, "max." + u);
  // What a GPU makes of a division by zero is not said; nobody may use it.
  add_binary<T, [](T a, T b) -> T { return b == 0 ? static_cast<T>(~T{0}) : static_cast<T>(a / b); }>(
      r, "div." + u);
  add_binary<T, [](T a, T b) -> T { return b == 0 ? a : static_cast<T>(a % b); }>(r, "rem." + u);
  add_binary<S, [](S a, S b) -> S {
    return b == 0 ? S{-1} : b == -1 ? static_cast<S>(T{0} - static_cast<T>(a)) : static_cast<S>(a / b);
  }>(r, "div." + s);
  add_binary<S, [](S a, S b) -> S { return b == 0    ? a
                                           : b == -1 ? S{0}
                                                     : static_cast<S>(a % b); }>(
      r, "rem." + s);
  add_shift<T, [](T a, uint32_t n) -> T { return n >= kBits<T> ? T{0} : static_cast<T>(a >> n); }>(
      r, "shr." + u);
  add_shift<S, [](S a, uint32_t n) -> S { return static_cast<S>(a >> (n >= kBits<T> ? kBits<T> - 1 : n)); }>(
      r, "shr." + s);
}

template <class T>
void add_bits(Rules& r, const std::string& b) {  // "b32"
  add_binary<T, [](T a, T c) -> T { return static_cast<T>(a & c); }>(r, "and." + b);
  add_binary<T, [](T a, T c) -> T { return static_cast<T>(a | c); }>(r, "or." + b);
  add_binary<T, [](T a, T c) -> T { return static_cast<T>(a ^ c); }>(r, "xor." + b);
  add_unary<T, [](T a) -> T { return static_cast<T>(~a); }>(r, "not." + b);
  add_shift<T, [](T a, uint32_t n) -> T { return n >= kBits<T> ? T{0} : static_cast<T>(a << n); }>(
      r, "shl." + b);
  add_shift<T, [](T a, uint32_t n) -> T { return n >= kBits<T> ? T{0} : static_cast<T>(a >> n); }>(
      r, "shr." + b);
}

template <class T>
void add_floats(Rules& r, const std::string& f) {  // "f32"
  for (const char* rounding : {".rn.", "."}) {
    add_binary<T, [](T a, T b) { return a + b; }>(r, "add" + (rounding + f));
    add_binary<T, [](T a, T b) { return a - b; }>(r, "sub" + (rounding + f));
    add_binary<T, [](T a, T b) { return a * b; }>(r, "mul" + (rounding + f));
  }
  add_binary<T, [](T a, T b) { return a / b; }>(r, "div.rn." + f);
  add_unary<T, [](T a) { return 1 / a; }>(r, "rcp.rn." + f);
  add_unary<T, [](T a) { return std::sqrt(a); }>(r, "sqrt.rn." + f);
  add_unary<T, [](T a) { return -a; }>(r, "neg." + f);
  add_unary<T, [](T a) { return std::fabs(a); }>(r, "abs." + f);
  add_binary<T, [](T a, T b) { return less_of(a, b); }>(r, "min." + f);
  add_binary<T, [](T a, T b) { return greater_of(a, b); }>(r, "max." + f);
  const std::string l = kLetter<T>;
  r["fma.rn." + f] = {l + l + l + l, [](Warp& w, const Inst& i, uint32_t lanes) {
                        map3<T, T, T, T>(w, i, lanes, [](T a, T b, T c) { return std::fma(a, b, c); });
                      }};
}

template <class Out, class In>
void add_wide(Rules& r, const std::string& name) {
  r[name] = {std::string(kLetter<Out>) + kLetter<In> + kLetter<In>,
             [](Warp& w, const Inst& i, uint32_t lanes) {
               map2<Out, In, In>(w, i, lanes, [](In a, In b) { return static_cast<Out>(Out{a} * Out{b}); });
             }};
}

template <class T>
void select(Warp& w, const Inst& i, uint32_t lanes) {
  const uint32_t which = w.predicate(i.o[3]);
  T* const out = w.to<T>(i.o[0]);
  const T* const a = w.from<T>(i.o[1]);
  const T* const b = w.from<T>(i.o[2]);
  for_lanes(lanes, [&](int l) { out[l] = which >> l & 1 ? a[l] : b[l]; });
}

template <auto kF>
void predicates(Warp& w, const Inst& i, uint32_t lanes) {
  w.set_predicate(i.o[0], kF(w.predicate(i.o[1]), w.predicate(i.o[2])), lanes);
}

uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = a | uint64_t{b} << 32;
  uint32_t out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const uint32_t s = selector >> (4 * i) & 15;
    uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (s & 7)) & 0xFF);
    if (s & 8) byte = byte & 0x80 ? 0xFF : 0;
    out |= byte << (8 * i);
  }
  return out;
}

// bfi d, a, b, position, length: the low bits of a into b.
template <class T>
void insert_bits(Warp& w, const Inst& i, uint32_t lanes) {
  const uint32_t* const position = w.from<uint32_t>(i.o[3]);
  const uint32_t* const length = w.from<uint32_t>(i.o[4]);
  T* const out = w.to<T>(i.o[0]);
  const T* const a = w.from<T>(i.o[1]);
  const T* const b = w.from<T>(i.o[2]);
  for_lanes(lanes, [&](int l) {
    const uint32_t p = position[l] & 0xFF, n = length[l] & 0xFF;
    if (n == 0 || p >= kBits<T>) {
      out[l] = b[l];
      return;
    }
    const T ones = n >= kBits<T> ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << n) - 1);
    out[l] = static_cast<T>((b[l] & ~(ones << p)) | ((a[l] & ones) << p));
  });
}

// Operands: d, the predicate (or -1), a, b, c, members.
template <auto kSource>
void shuffle(Warp& w, const Inst& i, uint32_t lanes) {
  const uint32_t* const a = w.from<uint32_t>(i.o[2]);
  const uint32_t* const b = w.from<uint32_t>(i.o[3]);
  const uint32_t* const c = w.from<uint32_t>(i.o[4]);
  uint32_t out[kLanes], in_range = 0;
  for (uint32_t l = 0; l < kLanes; ++l) {
    const uint32_t clamp = c[l] & 31, segment = c[l] >> 8 & 31;
    const uint32_t low = l & segment, high = low | (clamp & ~segment);
    bool ok = false;
    uint32_t from = kSource(l, b[l] & 31, low, high, segment, &ok);
    if (!ok) from = l;
    out[l] = a[from];
    in_range |= ok ? 1u << l : 0;
  }
  uint32_t* const d = w.to<uint32_t>(i.o[0]);
  for_lanes(lanes, [&](int l) { d[l] = out[l]; });
  if (i.o[1] >= 0) w.set_predicate(i.o[1], in_range, lanes);
}

void add_warp_rules(Rules& r) {
  const auto add = [&](const std::string& mode, Execute execute) {
    r["shfl.sync." + mode + ".b32"] = {"wpwwww", execute, Flow::converged};
  };
  add("bfly", shuffle<[](uint32_t l, uint32_t b, uint32_t, uint32_t high, uint32_t, bool* ok) {
        *ok = (l ^ b) <= high;
        return l ^ b;
      }>);
  add("idx", shuffle<[](uint32_t, uint32_t b, uint32_t low, uint32_t high, uint32_t segment, bool* ok) {
        const uint32_t from = low | (b & ~segment);
        *ok = from <= high;
        return from;
      }>);
  add("up", shuffle<[](uint32_t l, uint32_t b, uint32_t, uint32_t high, uint32_t, bool* ok) {
        const auto from = static_cast<int32_t>(l) - static_cast<int32_t>(b);
        *ok = from >= static_cast<int32_t>(high);  // `clamp` is the first lane of the segment here
        return static_cast<uint32_t>(from);
      }>);
  add("down", shuffle<[](uint32_t l, uint32_t b, uint32_t, uint32_t high, uint32_t, bool* ok) {
        *ok = l + b <= high;
        return l + b;
      }>);
  r["vote.sync.any.pred"] = {"ppw",
                             [](Warp& w, const Inst& i, uint32_t lanes) {
                               const bool any = (w.predicate(i.o[1]) & lanes) != 0;
                               w.set_predicate(i.o[0], any ? kAllLanes : 0, lanes);
                             },
                             Flow::converged};
  r["vote.sync.all.pred"] = {"ppw",
                             [](Warp& w, const Inst& i, uint32_t lanes) {
                               const bool all = (~w.predicate(i.o[1]) & lanes) == 0;
                               w.set_predicate(i.o[0], all ? kAllLanes : 0, lanes);
                             },
                             Flow::converged};
  r["vote.sync.ballot.b32"] = {"wpw",
                               [](Warp& w, const Inst& i, uint32_t lanes) {
                                 const uint32_t votes = w.predicate(i.o[1]) & lanes;
                                 uint32_t* const d = w.to<uint32_t>(i.o[0]);
                                 for_lanes(lanes, [&](int l) { d[l] = votes; });
                               },
                               Flow::converged};
  r["redux.sync.min.s32"] = {"www",
                             [](Warp& w, const Inst& i, uint32_t lanes) {
                               const int32_t* const a = w.from<int32_t>(i.o[1]);
                               int32_t least = std::numeric_limits<int32_t>::max();
                               for_lanes(lanes, [&](int l) { least = std::min(least, a[l]); });
                               int32_t* const d = w.to<int32_t>(i.o[0]);
                               for_lanes(lanes, [&](int l) { d[l] = least; });
                             },
                             Flow::converged};
  r["bar.warp.sync"] = {"w", [](Warp&, const Inst&, uint32_t) {}, Flow::converged};
}

template <class T, auto kF>
void atomic(Warp& w, const Inst& i, uint32_t lanes) {
  const T* const value = w.from<T>(i.o[2]);
  T old[kLanes];
  for_lanes(lanes, [&](int l) {
    std::byte* const at = w.shared(i, w.address(i, i.o[1], l), sizeof(T));
    std::memcpy(&old[l], at, sizeof(T));
    const T changed = kF(old[l], value[l]);
    std::memcpy(at, &changed, sizeof(T));
  });
  if (i.o[0] < 0) return;
  T* const d = w.to<T>(i.o[0]);
  for_lanes(lanes, [&](int l) { d[l] = old[l]; });
}

void add_other_rules(Rules& r) {
  for (const char* type : {"b32", "u32", "s32", "f32"})
    r[std::string("selp.") + type] = {"wwwp", select<uint32_t>};
  for (const char* type : {"b64", "u64", "s64", "f64"})
    r[std::string("selp.") + type] = {"dddp", select<uint64_t>};
  for (const char* type : {"b16", "u16", "s16"}) r[std::string("selp.") + type] = {"hhhp", select<uint16_t>};
  r["and.pred"] = {"ppp", predicates<[](uint32_t a, uint32_t b) { return a & b; }>};
  r["or.pred"] = {"ppp", predicates<[](uint32_t a, uint32_t b) { return a | b; }>};
  r["xor.pred"] = {"ppp", predicates<[](uint32_t a, uint32_t b) { return a ^ b; }>};
  r["not.pred"] = {"pp", [](Warp& w, const Inst& i, uint32_t lanes) {
                     w.set_predicate(i.o[0], ~w.predicate(i.o[1]), lanes);
                   }};
  r["mov.pred"] = {"pp", [](Warp& w, const Inst& i, uint32_t lanes) {
                     w.set_predicate(i.o[0], w.predicate(i.o[1]), lanes);
                   }};
  r["prmt.b32"] = {"wwww", [](Warp& w, const Inst& i, uint32_t lanes) {
                     map3<uint32_t, uint32_t, uint32_t, uint32_t>(w, i, lanes, permute);
                   }};
  r["bfi.b32"] = {"wwwww", insert_bits<uint32_t>};
  r["bfi.b64"] = {"dddww", insert_bits<uint64_t>};
  add_unary<uint32_t, [](uint32_t a) { return static_cast<uint32_t>(std::popcount(a)); }>(r, "popc.b32");
  add_wide<uint32_t, uint16_t>(r, "mul.wide.u16");
  add_wide<int32_t, int16_t>(r, "mul.wide.s16");
  add_wide<uint64_t, uint32_t>(r, "mul.wide.u32");
  add_wide<int64_t, int32_t>(r, "mul.wide.s32");
  add_binary<int32_t, [](int32_t a, int32_t b) { return static_cast<int32_t>(int64_t{a} * b >> 32); }>(
      r, "mul.hi.s32");
  add_binary<uint32_t, [](uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }>(
      r, "mul.hi.u32");
  __extension__ using Wide = __int128;
  add_binary<int64_t, [](int64_t a, int64_t b) { return static_cast<int64_t>(Wide{a} * b >> 64); }>(
      r, "mul.hi.s64");
  add_binary<uint64_t, [](uint64_t a, uint64_t b) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
  }>(r, "mul.hi.u64");
  // The GPU's approximation is within 2 ulp; this is the nearest number.
  add_unary<float, [](float a) {
    const float ftz = std::fabs(a) < std::numeric_limits<float>::min() ? 0.0f : a;
    const auto out = static_cast<float>(std::exp2(static_cast<double>(ftz)));
    return out < std::numeric_limits<float>::min() ? 0.0f : out;
  }>(r, "ex2.approx.ftz.f32");
  r["cvt.rn.bf16x2.f32"] = {"www", [](Warp& w, const Inst& i, uint32_t lanes) {
                              map2<uint32_t, uint32_t, uint32_t>(
                                  w, i, lanes, [](uint32_t high, uint32_t low) {
                                    const auto round = [](uint32_t f) -> uint32_t {
                                      if ((f & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
                                      return (f + 0x7FFF + (f >> 16 & 1)) >> 16;
                                    };
                                    return round(high) << 16 | round(low);
                                  });
                            }};
  for (const char* space : {"shared", "shared::cta"}) {
    const std::string name = std::string("atom.") + space;
    r[name + ".add.u32"] =
        r[name + ".add.s32"] = {"waw", atomic<uint32_t, [](uint32_t a, uint32_t b) { return a + b; }>};
    r[name + ".min.s32"] = {"waw", atomic<int32_t, [](int32_t a, int32_t b) { return std::min(a, b); }>};
    r[name + ".add.f64"] = {"dad", atomic<double, [](double a, double b) { return a + b; }>};
    r[name + ".add.f32"] = {"waw", atomic<float, [](float a, float b) { return a + b; }>};
  }
  for (const char* name : {"griddepcontrol.wait", "griddepcontrol.launch_dependents", "membar.gl",
                           "fence.proxy.async.shared::cta", "fence.mbarrier_init.release.cluster"})
    r[name] = {"", nothing};
  r["setmaxnreg.inc.sync.aligned.u32"] = r["setmaxnreg.dec.sync.aligned.u32"] = {"w", nothing};
  r["prefetch.tensormap"] = {"a", nothing};
  r["fence.proxy.tensormap::generic.acquire.gpu"] = {"aw", nothing};
  r["trap"] = {"", [](Warp& w, const Inst& i, uint32_t) { w.fault(i, Fault::Kind::trap, "trap"); }};
  r["ret"] = r["exit"] = {"", nullptr, Flow::exit};
  r["bar.sync"] = {"ww", nullptr, Flow::barrier};
  for (const char* name : {"barrier.cluster.arrive.release.aligned", "barrier.cluster.arrive.release",
                           "barrier.cluster.arrive.relaxed", "barrier.cluster.arrive.relaxed.aligned"})
    r[name] = {"", nullptr, Flow::cluster_arrive};
  for (const char* name : {"barrier.cluster.wait.acquire.aligned", "barrier.cluster.wait.acquire"})
    r[name] = {"", nullptr, Flow::cluster_wait};
}

Rules make_rules() {
  Rules r;
  add_integers<uint16_t>(r, "s16", "u16");
  add_integers<uint32_t>(r, "s32", "u32");
  add_integers<uint64_t>(r, "s64", "u64");
  add_bits<uint16_t>(r, "b16");
  add_bits<uint32_t>(r, "b32");
  add_bits<uint64_t>(r, "b64");
  add_floats<float>(r, "f32");
  add_floats<double>(r, "f64");
  add_warp_rules(r);
  add_other_rules(r);
  return r;
}

template <class T, auto kF>
void compare(Warp& w, const Inst& i, uint32_t lanes) {
  const T* const a = w.from<T>(i.o[1]);
  const T* const b = w.from<T>(i.o[2]);
  uint32_t out = 0;
  for (int l = 0; l < kLanes; ++l) out |= static_cast<uint32_t>(kF(a[l], b[l])) << l;
  w.set_predicate(i.o[0], out, lanes);
}

template <class T>
Execute find_ordered(const std::string& c) {
  if (c == "eq") return compare<T, [](T a, T b) { return a == b; }>;
  if (c == "lt" || c == "lo") return compare<T, [](T a, T b) { return a < b; }>;
  if (c == "le" || c == "ls") return compare<T, [](T a, T b) { return a <= b; }>;
  if (c == "gt" || c == "hi") return compare<T, [](T a, T b) { return b < a; }>;
  if (c == "ge" || c == "hs") return compare<T, [](T a, T b) { return b <= a; }>;
  if (c == "ne") return compare<T, [](T a, T b) { return !(a == b) && a == a && b == b; }>;
  return nullptr;
}
template <class T>
Execute find_float(const std::string& c) {
  if (c == "equ") return compare<T, [](T a, T b) { return !(a < b || a > b); }>;
  if (c == "neu") return compare<T, [](T a, T b) { return !(a == b); }>;
  if (c == "ltu") return compare<T, [](T a, T b) { return !(a >= b); }>;
  if (c == "leu") return compare<T, [](T a, T b) { return !(a > b); }>;
  if (c == "gtu") return compare<T, [](T a, T b) { return !(a <= b); }>;
  if (c == "geu") return compare<T, [](T a, T b) { return !(a < b); }>;
  if (c == "num") return compare<T, [](T a, T b) { return a == a && b == b; }>;
  if (c == "nan") return compare<T, [](T a, T b) { return a != a || b != b; }>;
  return find_ordered<T>(c);
}

}  // namespace

const Rule* find_rule(const std::string& name) {
  static const Rules rules = make_rules();
  const auto found = rules.find(name);
  return found == rules.end() ? nullptr : &found->second;
}

Execute find_comparison(const std::string& c, const std::string& type) {
  if (type == "f32") return find_float<float>(c);
  if (type == "f64") return find_float<double>(c);
  if (type == "s16") return find_ordered<int16_t>(c);
  if (type == "u16" || type == "b16") return find_ordered<uint16_t>(c);
  if (type == "s32") return find_ordered<int32_t>(c);
  if (type == "u32" || type == "b32") return find_ordered<uint32_t>(c);
  if (type == "s64") return find_ordered<int64_t>(c);
  if (type == "u64" || type == "b64") return find_ordered<uint64_t>(c);
  return nullptr;
}

}  // namespace r1::emulator
