// server/engine_loop.h: the engine's thread, and the queue in front of it.
//
// Jobs wait in one queue per owner. Whenever the batch has room, the next owner in turn gets its oldest job
// in, so that an owner with many jobs does not keep the others waiting. The queue is bounded over all owners.
// The engine takes one token per sample and step; between two steps jobs come in, are cancelled, and reach
// their deadlines. What a job's samples are depends on its requests alone: the engine's promise
// (engine/engine.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/api_error.h"

namespace r1 {

// Some requests that belong together. All functions are called on the engine's thread. Exactly one of
// finished(), failed() and cancelled() is called, as the last one.
class Job {
 public:
  using Clock = std::chrono::steady_clock;
  virtual ~Job() = default;

  std::vector<Request> requests;
  std::string owner;
  Clock::time_point deadline = Clock::time_point::max();

  virtual void started() {}
  // A sample has a further token. It is told to the job before the sample's end.
  struct Action {
    bool stop = false;                    // end the sample here
    std::span<const int32_t> force = {};  // its next tokens; valid until the next call
  };
  virtual Action token(size_t request, Events::Token& token) = 0;
  virtual void ended(size_t request, const Completion& completion) = 0;  // a sample
  virtual void finished() = 0;                                           // all samples have ended
  virtual void late() = 0;  // the deadline has passed; finished() follows
  virtual void failed(const ApiError& why) = 0;
  virtual void cancelled() = 0;
};

struct EngineLoopOptions {
  EngineOptions engine;
  int64_t max_queue = 256;  // jobs that wait
};

class EngineLoop {
 public:
  // Starts the thread. Model and context outlive the loop; nobody else uses the context.
  EngineLoop(const Model& model, Context& ctx, const EngineLoopOptions& options);
  ~EngineLoop();  // cancels what is in progress
  EngineLoop(const EngineLoop&) = delete;
  EngineLoop& operator=(const EngineLoop&) = delete;

  // Queues a job. Throws ApiError: 429 with Retry-After if the queue is full, 503 after drain(). Any thread.
  void submit(std::shared_ptr<Job> job);
  // Remembers a job for a time when no other one waits or runs; such a time may never come. It is given up as
  // soon as another job comes. The last kMostIdle of them are remembered. Any thread.
  static constexpr size_t kMostIdle = 64;
  void submit_idle(std::shared_ptr<Job> job);
  // Forgets a job before the next step. No effect if it has ended. Any thread.
  void cancel(std::shared_ptr<Job> job);
  // Takes no further jobs. Any thread.
  void drain();
  // Ends all jobs now with status 503. Any thread.
  void abandon();

  struct State {
    int64_t queued = 0, running = 0;  // jobs
    int64_t samples = 0;              // running
    int64_t steps = 0;                // so far
    int64_t idle_jobs = 0;            // submit_idle()'s, that have come to their end so far
    Engine::Statistics engine;
    int64_t kv_bytes = 0;
  };
  State state() const;  // after the last step. Any thread.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
