// base/threads.h: a pool that runs index ranges.
//
// Workers spin briefly between jobs (a decode step is hundreds of short jobs), then sleep. Which thread takes
// which chunk varies from run to run, so no result may depend on it.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace r1 {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // >= 1; counts the caller
  // A pool of this size without threads: it runs nothing. It is for measuring the memory of a computation
  // (tensor/context.h).
  static ThreadPool idle(int threads) { return {threads, Idle{}}; }
  bool is_idle() const;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  int size() const;

  // Calls body(begin, end) over [0, n) in chunks of `grain` (the last may be shorter) on all threads and
  // returns when all are done. The body must not throw. A nested call runs on the calling thread alone.
  template <class Body>
  void parallel_for(int64_t n, int64_t grain, const Body& body) {
    run(
        n, grain,
        [](const void* b, int64_t begin, int64_t end, int) { (*static_cast<const Body*>(b))(begin, end); },
        &body);
  }
  // The same with body(begin, end, thread), where thread is in [0, size()), for per-thread scratch.
  template <class Body>
  void parallel_for_thread(int64_t n, int64_t grain, const Body& body) {
    run(
        n, grain,
        [](const void* b, int64_t begin, int64_t end, int t) {
          (*static_cast<const Body*>(b))(begin, end, t);
        },
        &body);
  }

 private:
  struct Idle {};
  ThreadPool(int threads, Idle);
  using Chunk = void (*)(const void* body, int64_t begin, int64_t end, int thread);
  void run(int64_t n, int64_t grain, Chunk chunk, const void* body);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// True if the calling thread is running a parallel_for.
bool inside_parallel_for();

// The number of cores that this process may use.
int available_threads();

}  // namespace r1
