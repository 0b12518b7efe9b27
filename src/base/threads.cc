#include "base/threads.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/integers.h"
#include "base/machine.h"

namespace r1 {

namespace {
// 50 to 250 us of spinning, depending on the processor's pause: longer than the gap between two ops of a
// decode step, shorter than a scheduler's slice.
constexpr int kSpins = 4000;
thread_local bool inside_parallel = false;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
}  // namespace

struct ThreadPool::Impl {
  // `word` is (chunks claimed from the front << 32 | chunks not yet claimed). A chunk is claimed by one
  // compare-and-swap, so a worker that slept through a job touches none of its fields. The caller waits for
  // the claimed chunks, not for the workers, so a worker that the system has descheduled holds nobody up.
  // Every other thread takes chunks from the back: with two threads, each one keeps the same end of the data
  // that consecutive ops write and read, and finds it in its own cache.
  std::atomic<uint64_t> word{0};
  std::atomic<int64_t> done{0};
  std::atomic<bool> stop{false};
  int64_t n = 0;
  int64_t grain = 1;
  int64_t chunks = 0;
  Chunk chunk = nullptr;
  const void* body = nullptr;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  int idle = 0;  // the size of a pool that runs nothing; 0: it runs

  static constexpr uint64_t kUnclaimed = (uint64_t{1} << 32) - 1;
  static constexpr uint64_t kFromFront = uint64_t{1} << 32;

  void end() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }

  bool has_work() const { return (word.load(std::memory_order_acquire) & kUnclaimed) != 0; }

  void work(int thread) {
    inside_parallel = true;
    const bool front = thread % 2 == 0;
    uint64_t seen = word.load(std::memory_order_acquire);
    while ((seen & kUnclaimed) != 0) {
      const uint64_t claimed = seen - 1 + (front ? kFromFront : 0);
      if (!word.compare_exchange_weak(seen, claimed, std::memory_order_acquire)) continue;
      const auto first = static_cast<int64_t>(seen >> 32), left = static_cast<int64_t>(seen & kUnclaimed);
      const int64_t begin = (front ? first : first + left - 1) * grain;
      chunk(body, begin, begin + grain < n ? begin + grain : n, thread);
      done.fetch_add(1, std::memory_order_release);
      seen = word.load(std::memory_order_acquire);
    }
    inside_parallel = false;
  }

  void worker(int thread) {
    for (;;) {
      int spins = 0;
      while (!has_work() && !stop.load(std::memory_order_relaxed)) {
        if (++spins < kSpins) {
          pause();
          continue;
        }
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return has_work() || stop.load(); });
      }
      if (stop.load()) return;
      work(thread);
    }
  }
};

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>()) {
  R1_CHECK(threads >= 1, "threads ", threads);
  try {
    for (int t = 1; t < threads; ++t) impl_->workers.emplace_back([this, t] { impl_->worker(t); });
  } catch (const std::system_error&) {
    const size_t started = impl_->workers.size() + 1;
    impl_->end();
    throw Error("the system starts only " + std::to_string(started) + " of " + std::to_string(threads) +
                " threads" + ulimit_advice());
  }
}

ThreadPool::ThreadPool(int threads, Idle) : impl_(std::make_unique<Impl>()) {
  R1_CHECK(threads >= 1, "threads ", threads);
  impl_->idle = threads;
}

ThreadPool::~ThreadPool() {
  impl_->end();
}

int ThreadPool::size() const {
  return impl_->idle > 0 ? impl_->idle : static_cast<int>(impl_->workers.size()) + 1;
}

bool ThreadPool::is_idle() const {
  return impl_->idle > 0;
}

void ThreadPool::run(int64_t n, int64_t grain, Chunk chunk, const void* body) {
  if (n <= 0 || impl_->idle > 0) return;
  if (grain < 1) grain = 1;
  if (inside_parallel || impl_->workers.empty() || n <= grain) {
    for (int64_t begin = 0; begin < n; begin += grain)
      chunk(body, begin, begin + grain < n ? begin + grain : n, 0);
    return;
  }
  Impl& job = *impl_;
  job.n = n;
  job.grain = grain;
  job.chunks = ceil_div(n, grain);
  R1_CHECK(job.chunks <= static_cast<int64_t>(Impl::kUnclaimed), n, " in chunks of ", grain);
  job.chunk = chunk;
  job.body = body;
  job.done.store(0, std::memory_order_relaxed);
  {
    std::lock_guard lock(job.mutex);  // no worker may miss the job between its last look and its sleep
    job.word.store(static_cast<uint64_t>(job.chunks), std::memory_order_release);
  }
  job.wake.notify_all();
  job.work(0);
  int spins = 0;
  while (job.done.load(std::memory_order_acquire) != job.chunks) {
    if (++spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

bool inside_parallel_for() {
  return inside_parallel;
}

int available_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : static_cast<int>(n);
}

}  // namespace r1
