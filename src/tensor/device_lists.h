// tensor/device_lists.h: the lists of a batch that a device's memory has already. An op that finds a list here
// sends nothing, so that all layers read what was sent once for a step.
#pragma once

#include <cstddef>
#include <cstring>
#include <deque>
#include <span>
#include <vector>

#include "base/error.h"
#include "tensor/tensor.h"

namespace r1 {

class DeviceLists {
 public:
  // `device` is where the list's values lie when the kernels run. The host's list is a key: it has the same
  // size, but only its size and largest value need be right.
  template <class T>
  void add(std::span<const T> list, const T* device) {
    known_.push_back({list.data(), list.size_bytes(), device});
  }
  // The list lies at the beginning of `device`.
  template <class T>
  void add(std::span<const T> list, const Tensor& device) {
    add(list, reinterpret_cast<const T*>(device.data));
  }
  // Returns the list on the device; null: it must be sent.
  template <class T>
  const T* find(std::span<const T> list) const {
    for (const Known& k : known_)
      if (k.host == list.data() && k.bytes == list.size_bytes()) return static_cast<const T*>(k.device);
    return nullptr;
  }

  // Returns a copy, in `memory`, of values that stay the same from step to step, such as the addresses of
  // weights. It lives as long as this object.
  const std::byte* constant(Memory& memory, std::span<const std::byte> values) {
    for (const Constant& c : constants_)
      if (c.values.size() == values.size() && std::memcmp(c.values.data(), values.data(), values.size()) == 0)
        return static_cast<const std::byte*>(c.copy.tensor().data);
    R1_CHECK(!recording, "new constants while a graph is recorded");
    const auto words = static_cast<int64_t>((values.size() + 3) / 4);
    Constant& c = constants_.emplace_back(
        Constant{{values.begin(), values.end()}, Buffer(Shape{words}, DType::i32, memory)});
    memory.write(c.copy.tensor().data, values.data(), values.size());
    return static_cast<const std::byte*>(c.copy.tensor().data);
  }
  bool recording = false;  // launches are recorded: nothing may be sent or allocated

 private:
  struct Known {
    const void* host;
    size_t bytes;
    const void* device;
  };
  struct Constant {
    std::vector<std::byte> values;
    Buffer copy;
  };
  std::vector<Known> known_;
  std::deque<Constant> constants_;
};

}  // namespace r1
