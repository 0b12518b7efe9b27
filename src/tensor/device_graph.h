// tensor/device_graph.h: a recorded series of launches on a device, which the host launches again as one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/arena.h"

namespace r1 {

class DeviceGraph {
 public:
  // Calls `work`, which queues launches on `stream`, and records these instead of running them. `work` may not
  // wait, allocate device memory or send the host's values. Throws Error, and what `work` throws. Builds
  // without CUDA have no stream that can be recorded.
  DeviceGraph(void* stream, const std::function<void()>& work);
  ~DeviceGraph();
  DeviceGraph(DeviceGraph&&) noexcept;
  DeviceGraph& operator=(DeviceGraph&&) = delete;

  void launch(void* stream) const;
  int64_t launches() const;  // that were recorded

  // The time of the recorded kernels, those of one name and grid together, from the longest. They run in the order
  // of the step, each several times over, so that each finds what the ones before it made; what they leave behind has
  // no meaning.
  struct KernelTime {
    std::string name;  // with the grid
    int64_t launches = 0;
    double microseconds = 0;  // of all launches of a step
  };
  std::vector<KernelTime> kernel_times(void* stream) const;

 private:
  struct Recorded;
  std::unique_ptr<Recorded> recorded_;
};

// Takes the memory between an arena's mark and `end`, a mark that other takes have led to from here: a recorded step
// uses it again. A take of no bytes leaves a gap, as every other one does.
inline void take_up_to(Arena& arena, size_t end) {
  const size_t begin = arena.mark();
  arena.take(0);
  const size_t gap = arena.mark() - begin;
  arena.release(begin);
  arena.take(end - begin - gap);
}

}  // namespace r1
