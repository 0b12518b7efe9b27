// server/work_queue.h: a thread that does one piece of work after another.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace r1 {

class WorkQueue {
 public:
  using Work = std::function<void()>;  // must not throw

  explicit WorkQueue(int64_t most) : most_(most), thread_([this] { run(); }) {}
  ~WorkQueue();  // drops the work that has not begun
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // Returns false if `most` pieces are waiting. Any thread.
  bool post(Work work);

 private:
  void run();

  const int64_t most_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Work> work_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace r1
