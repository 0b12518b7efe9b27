// tensor/cuda_times.cu: an event behind every launch of a thread, while it is being timed.
#include <cuda_runtime.h>

#include <algorithm>
#include <map>
#include <utility>

#include "tensor/cuda.h"
#include "tensor/cuda_times.h"
#include "tensor/work_stream.h"

namespace r1::cuda {
namespace {

class LaunchTimes {
 public:
  explicit LaunchTimes(cudaStream_t stream) : stream_(stream) { note(nullptr); }
  ~LaunchTimes() {
    for (const auto& [kernel, event] : events_) cudaEventDestroy(event);
  }
  LaunchTimes(const LaunchTimes&) = delete;
  LaunchTimes& operator=(const LaunchTimes&) = delete;

  void note(const char* kernel) {
    cudaEvent_t event{};
    check(cudaEventCreate(&event), "cudaEventCreate");
    events_.emplace_back(kernel, event);
    check(cudaEventRecord(event, stream_), "cudaEventRecord");
  }
  std::vector<KernelTime> rows() const {
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    std::map<std::string, KernelTime> by_name;
    for (size_t i = 1; i < events_.size(); ++i) {
      float ms = 0;
      check(cudaEventElapsedTime(&ms, events_[i - 1].second, events_[i].second), "cudaEventElapsedTime");
      KernelTime& row = by_name[events_[i].first];
      row.kernel = events_[i].first;
      row.seconds += static_cast<double>(ms) * 1e-3;
      ++row.launches;
    }
    std::vector<KernelTime> out;
    for (auto& [name, row] : by_name) out.push_back(std::move(row));
    std::ranges::stable_sort(out, std::greater(), &KernelTime::seconds);
    return out;
  }

 private:
  cudaStream_t stream_;
  std::vector<std::pair<const char*, cudaEvent_t>> events_;
};

thread_local LaunchTimes* being_timed = nullptr;

}  // namespace

void note_launch(const char* kernel) {
  if (being_timed != nullptr) being_timed->note(kernel);
}

std::vector<KernelTime> time_kernels(const std::function<void()>& work) {
  LaunchTimes times(static_cast<cudaStream_t>(work_stream()));
  struct Timed {
    explicit Timed(LaunchTimes* t) { being_timed = t; }
    ~Timed() { being_timed = nullptr; }
  };
  {
    const Timed timed(&times);
    work();
  }
  return times.rows();
}

}  // namespace r1::cuda
