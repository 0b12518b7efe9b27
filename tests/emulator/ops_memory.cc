// tests/emulator/ops_memory.cc: loads, stores, moves and conversions.
#include <bit>
#include <cmath>
#include <limits>

#include "tests/emulator/lanes.h"
#include "tests/emulator/ops.h"

namespace r1::emulator {
namespace {

template <Space kSpace>
std::byte* memory_at(Warp& w, const Inst& i, uint64_t address, size_t bytes, int lane) {
  if constexpr (kSpace == Space::global) return w.global(i, address, bytes);
  if constexpr (kSpace == Space::shared) return w.shared(i, address, bytes);
  if constexpr (kSpace == Space::local) return w.local(i, address, bytes, lane);
  return w.generic(i, address, bytes, lane);
}

// Operands of a load: the registers, then the address; nothing is kept for a register that is a sink.
template <Space kSpace, class Memory, class Lane, int kCount>
void load(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    const std::byte* const at =
        memory_at<kSpace>(w, i, w.address(i, i.o[kCount], l), sizeof(Memory) * kCount, l);
    Memory values[kCount];
    std::memcpy(values, at, sizeof values);
    for (int k = 0; k < kCount; ++k)
      if (i.o[static_cast<size_t>(k)] >= 0)
        w.to<Lane>(i.o[static_cast<size_t>(k)])[l] = static_cast<Lane>(values[k]);
  });
}
template <Space kSpace, class Memory, class Lane, int kCount>
void store(Warp& w, const Inst& i, uint32_t lanes) {
  for_lanes(lanes, [&](int l) {
    Memory values[kCount];
    for (int k = 0; k < kCount; ++k)
      values[k] = static_cast<Memory>(w.from<Lane>(i.o[static_cast<size_t>(k + 1)])[l]);
    std::memcpy(memory_at<kSpace>(w, i, w.address(i, i.o[0], l), sizeof values, l), values, sizeof values);
  });
}
template <class Memory, class Lane, int kCount>
void load_parameter(Warp& w, const Inst& i, uint32_t lanes) {
  Memory values[kCount];
  std::memcpy(values, w.parameters() + i.offset, sizeof values);
  for (int k = 0; k < kCount; ++k) {
    Lane* const out = w.to<Lane>(i.o[static_cast<size_t>(k)]);
    for_lanes(lanes, [&](int l) { out[l] = static_cast<Lane>(values[k]); });
  }
}

// Calls found.template operator()<Memory, Lane, count>() for the types that are asked for.
template <class Found, int kCount>
Execute by_types(int bytes, int lane_bytes, bool sign, const Found& found) {
  const auto with = [&]<class Memory>() -> Execute {
    using Unsigned = std::make_unsigned_t<Memory>;
    constexpr bool kSigned = std::is_signed_v<Memory>;
    using L2 = std::conditional_t<kSigned, int16_t, uint16_t>;
    using L4 = std::conditional_t<kSigned, int32_t, uint32_t>;
    using L8 = std::conditional_t<kSigned, int64_t, uint64_t>;
    static_assert(sizeof(Unsigned) <= 8);
    if (lane_bytes == 2) return found.template operator()<Memory, L2, kCount>();
    if (lane_bytes == 4) return found.template operator()<Memory, L4, kCount>();
    if (lane_bytes == 8) return found.template operator()<Memory, L8, kCount>();
    return nullptr;
  };
  switch (bytes) {
    case 1:
      return sign ? with.template operator()<int8_t>() : with.template operator()<uint8_t>();
    case 2:
      return sign ? with.template operator()<int16_t>() : with.template operator()<uint16_t>();
    case 4:
      return sign ? with.template operator()<int32_t>() : with.template operator()<uint32_t>();
    case 8:
      return with.template operator()<uint64_t>();
    default:
      return nullptr;
  }
}
template <class Found>
Execute by_count(int bytes, int lane_bytes, bool sign, int count, const Found& found) {
  if (count == 1) return by_types<Found, 1>(bytes, lane_bytes, sign, found);
  if (count == 2) return by_types<Found, 2>(bytes, lane_bytes, sign, found);
  if (count == 4) return by_types<Found, 4>(bytes, lane_bytes, sign, found);
  return nullptr;
}

template <Space kSpace>
Execute load_from(int bytes, int lane_bytes, bool sign, int count) {
  return by_count(bytes, lane_bytes, sign, count, []<class Memory, class Lane, int kCount>() -> Execute {
    return load<kSpace, Memory, Lane, kCount>;
  });
}
template <Space kSpace>
Execute store_to(int bytes, int lane_bytes, int count) {
  return by_count(bytes, lane_bytes, false, count, []<class Memory, class Lane, int kCount>() -> Execute {
    return store<kSpace, Memory, Lane, kCount>;
  });
}

template <class To, class From, class Lane, class FromLane>
void convert_integer(Warp& w, const Inst& i, uint32_t lanes) {
  map1<Lane, FromLane>(w, i, lanes,
                       [](FromLane a) { return static_cast<Lane>(static_cast<To>(static_cast<From>(a))); });
}

// Chooses among the integer types by name; the registers may be wider than the types.
template <class F>
Execute with_integer(const std::string& name, int lane_bytes, const F& f) {
  const auto lane = [&]<class T>() -> Execute {
    constexpr bool kSigned = std::is_signed_v<T>;
    if (lane_bytes == 2) return f.template operator()<T, std::conditional_t<kSigned, int16_t, uint16_t>>();
    if (lane_bytes == 4) return f.template operator()<T, std::conditional_t<kSigned, int32_t, uint32_t>>();
    if (lane_bytes == 8) return f.template operator()<T, std::conditional_t<kSigned, int64_t, uint64_t>>();
    return nullptr;
  };
  if (name == "s8") return lane.template operator()<int8_t>();
  if (name == "u8") return lane.template operator()<uint8_t>();
  if (name == "s16") return lane.template operator()<int16_t>();
  if (name == "u16") return lane.template operator()<uint16_t>();
  if (name == "s32") return lane.template operator()<int32_t>();
  if (name == "u32") return lane.template operator()<uint32_t>();
  if (name == "s64") return lane.template operator()<int64_t>();
  if (name == "u64") return lane.template operator()<uint64_t>();
  return nullptr;
}

template <class Float, class Int>
Int to_integer(Float a) {  // towards zero; what is outside becomes the nearest, NaN 0
  if (std::isnan(a)) return 0;
  const Float t = std::trunc(a);
  constexpr Int kLeast = std::numeric_limits<Int>::min(), kMost = std::numeric_limits<Int>::max();
  if (t <= static_cast<Float>(kLeast)) return kLeast;
  if (t >= static_cast<Float>(kMost)) return kMost;
  return static_cast<Int>(t);
}

float half_value(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  const float magnitude =
      exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                    : std::ldexp(static_cast<float>(fraction | 0x400), static_cast<int>(exponent) - 25);
  return sign ? -magnitude : magnitude;
}

template <class To, class From, auto kF>
void convert(Warp& w, const Inst& i, uint32_t lanes) {
  map1<To, From>(w, i, lanes, kF);
}
template <class To, class From>
void cast(Warp& w, const Inst& i, uint32_t lanes) {
  map1<To, From>(w, i, lanes, [](From a) { return static_cast<To>(a); });
}

Execute find_float_conversion(const std::string& name) {
  if (name == ".f32.f16") return convert<float, uint16_t, half_value>;
  if (name == ".f64.f32") return cast<double, float>;
  if (name == ".rn.f32.f64") return cast<float, double>;
  if (name == ".rn.f32.s32") return cast<float, int32_t>;
  if (name == ".rn.f32.u32") return cast<float, uint32_t>;
  if (name == ".rn.f32.s64") return cast<float, int64_t>;
  if (name == ".rn.f32.u64") return cast<float, uint64_t>;
  if (name == ".rn.f64.s32") return cast<double, int32_t>;
  if (name == ".rn.f64.u32") return cast<double, uint32_t>;
  if (name == ".rn.f64.s64") return cast<double, int64_t>;
  if (name == ".rn.f64.u64") return cast<double, uint64_t>;
  if (name == ".rzi.u32.f32") return convert<uint32_t, float, to_integer<float, uint32_t>>;
  if (name == ".rzi.s32.f32") return convert<int32_t, float, to_integer<float, int32_t>>;
  if (name == ".rzi.s64.f64") return convert<int64_t, double, to_integer<double, int64_t>>;
  if (name == ".rzi.s32.f64") return convert<int32_t, double, to_integer<double, int32_t>>;
  if (name == ".rmi.f32.f32") return convert<float, float, [](float a) { return std::floor(a); }>;
  if (name == ".rpi.f64.f64") return convert<double, double, [](double a) { return std::ceil(a); }>;
  if (name == ".rni.f32.f32") return convert<float, float, [](float a) { return std::nearbyint(a); }>;
  if (name == ".rni.f64.f64") return convert<double, double, [](double a) { return std::nearbyint(a); }>;
  return nullptr;
}

template <class Whole, class Part, int kParts>
void unpack(Warp& w, const Inst& i, uint32_t lanes) {
  const Whole* const whole = w.from<Whole>(i.o[kParts]);
  for_lanes(lanes, [&](int l) {
    for (size_t k = 0; k < kParts; ++k)
      if (i.o[k] >= 0) w.to<Part>(i.o[k])[l] = static_cast<Part>(whole[l] >> (k * sizeof(Part) * 8));
  });
}
template <class Whole, class Part, int kParts>
void pack(Warp& w, const Inst& i, uint32_t lanes) {
  Whole* const whole = w.to<Whole>(i.o[0]);
  for_lanes(lanes, [&](int l) {
    Whole out = 0;
    for (size_t k = 0; k < kParts; ++k)
      out |= static_cast<Whole>(w.from<Part>(i.o[k + 1])[l]) << (k * sizeof(Part) * 8);
    whole[l] = out;
  });
}

}  // namespace

Execute find_load(Space space, int bytes, int lane_bytes, bool sign, int count) {
  switch (space) {
    case Space::global:
      return load_from<Space::global>(bytes, lane_bytes, sign, count);
    case Space::shared:
      return load_from<Space::shared>(bytes, lane_bytes, sign, count);
    case Space::local:
      return load_from<Space::local>(bytes, lane_bytes, sign, count);
    case Space::generic:
      return load_from<Space::generic>(bytes, lane_bytes, sign, count);
  }
  return nullptr;
}
Execute find_store(Space space, int bytes, int lane_bytes, int count) {
  switch (space) {
    case Space::global:
      return store_to<Space::global>(bytes, lane_bytes, count);
    case Space::shared:
      return store_to<Space::shared>(bytes, lane_bytes, count);
    case Space::local:
      return store_to<Space::local>(bytes, lane_bytes, count);
    case Space::generic:
      return store_to<Space::generic>(bytes, lane_bytes, count);
  }
  return nullptr;
}
Execute find_parameter_load(int bytes, int lane_bytes, bool sign, int count) {
  return by_count(bytes, lane_bytes, sign, count, []<class Memory, class Lane, int kCount>() -> Execute {
    return load_parameter<Memory, Lane, kCount>;
  });
}

Execute find_conversion(const std::string& rounding, const std::string& to, const std::string& from,
                        int to_bytes, int from_bytes) {
  if (to[0] == 'f' || from[0] == 'f') return find_float_conversion(rounding + "." + to + "." + from);
  if (!rounding.empty()) return nullptr;
  return with_integer(to, to_bytes, [&]<class To, class Lane>() -> Execute {
    return with_integer(from, from_bytes, []<class From, class FromLane>() -> Execute {
      return convert_integer<To, From, Lane, FromLane>;
    });
  });
}

Execute find_move(int bytes) {
  if (bytes == 2) return cast<uint16_t, uint16_t>;
  if (bytes == 4) return cast<uint32_t, uint32_t>;
  if (bytes == 8) return cast<uint64_t, uint64_t>;
  return nullptr;
}
Execute find_unpack(int whole_bytes, int parts) {
  if (whole_bytes == 8 && parts == 2) return unpack<uint64_t, uint32_t, 2>;
  if (whole_bytes == 8 && parts == 4) return unpack<uint64_t, uint16_t, 4>;
  if (whole_bytes == 4 && parts == 2) return unpack<uint32_t, uint16_t, 2>;
  return nullptr;
}
Execute find_pack(int whole_bytes, int parts) {
  if (whole_bytes == 8 && parts == 2) return pack<uint64_t, uint32_t, 2>;
  if (whole_bytes == 8 && parts == 4) return pack<uint64_t, uint16_t, 4>;
  if (whole_bytes == 4 && parts == 2) return pack<uint32_t, uint16_t, 2>;
  return nullptr;
}

}  // namespace r1::emulator
