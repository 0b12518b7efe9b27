#include "server/engine_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <utility>

namespace r1 {
namespace {

using Clock = Job::Clock;

int64_t samples_of(const Job& job) {
  int64_t samples = 0;
  for (const Request& r : job.requests) samples += r.samples;
  return samples;
}

// Jobs that wait, in turn by owner.
class FairQueue {
 public:
  void push(std::shared_ptr<Job> job) {
    std::deque<std::shared_ptr<Job>>& own = jobs_[job->owner];
    if (own.empty()) turns_.push_back(job->owner);
    own.push_back(std::move(job));
    ++size_;
  }
  std::shared_ptr<Job> pop() {
    const std::string owner = std::move(turns_.front());
    turns_.pop_front();
    const auto own = jobs_.find(owner);
    std::shared_ptr<Job> job = std::move(own->second.front());
    own->second.pop_front();
    if (own->second.empty()) {
      jobs_.erase(own);
    } else {
      turns_.push_back(owner);
    }
    --size_;
    return job;
  }
  // Takes out all jobs for which `is_wanted` holds.
  template <class Predicate>
  std::vector<std::shared_ptr<Job>> take(const Predicate& is_wanted) {
    std::vector<std::shared_ptr<Job>> taken;
    for (auto own = jobs_.begin(); own != jobs_.end();) {
      std::erase_if(own->second, [&](const std::shared_ptr<Job>& job) {
        if (!is_wanted(*job)) return false;
        taken.push_back(job);
        return true;
      });
      if (!own->second.empty()) {
        ++own;
        continue;
      }
      std::erase(turns_, own->first);
      own = jobs_.erase(own);
    }
    size_ -= std::ssize(taken);
    return taken;
  }
  int64_t size() const { return size_; }

 private:
  std::map<std::string, std::deque<std::shared_ptr<Job>>> jobs_;
  std::deque<std::string> turns_;  // owners that have jobs
  int64_t size_ = 0;
};

}  // namespace

struct EngineLoop::Impl {
  Impl(const Model& model, Context& ctx, const EngineLoopOptions& o)
      : options(o), engine(model, ctx, o.engine), thread([this] { run(); }) {}

  // A job in the engine.
  struct Running {
    std::shared_ptr<Job> job;
    std::vector<Engine::RequestId> ids;
    int64_t left = 0;  // samples
    Clock::time_point begin;
  };
  struct Place {
    std::list<Running>::iterator running;
    size_t request = 0;  // index in the job
  };

  void run();
  bool wait();
  void take_orders(std::unique_lock<std::mutex>& lock);
  void admit(std::unique_lock<std::mutex>& lock);
  void admit_idle(std::unique_lock<std::mutex>& lock);
  void start(std::shared_ptr<Job> job);
  void step();
  void deal_out(Events& events);
  void end_sample(const Completion& completion);
  void expire();
  void remove(std::list<Running>::iterator running);
  void fail_all(const ApiError& why);
  void publish();
  Clock::time_point next_deadline() const;

  const EngineLoopOptions options;
  Engine engine;

  mutable std::mutex mutex;  // over what follows
  std::condition_variable wake;
  FairQueue queue;
  std::deque<std::shared_ptr<Job>> idle;  // from the oldest
  std::vector<std::shared_ptr<Job>> cancels;
  bool draining = false, abandoning = false, ending = false;
  double job_seconds = 1;  // how long a job takes, lately
  State known;

  // The thread's own.
  std::list<Running> running;
  std::map<Engine::RequestId, Place> places;
  int64_t samples = 0;  // in progress
  int64_t steps = 0;
  Job* idle_job = nullptr;  // the running job, if it is one of submit_idle()
  int64_t idle_jobs = 0;
  std::thread thread;  // last: it uses the others
};

void EngineLoop::Impl::run() {
  while (wait()) {
    if (!running.empty()) step();
    expire();
    publish();
  }
  fail_all(ApiError("the server has stopped", {.status = 503}));
}

// Waits until there is work, and takes in what other threads asked for. Returns false at the end.
bool EngineLoop::Impl::wait() {
  std::unique_lock lock(mutex);
  const auto is_due = [&] {
    return ending || abandoning || !cancels.empty() || queue.size() > 0 || (!idle.empty() && !draining);
  };
  if (running.empty()) wake.wait(lock, is_due);
  take_orders(lock);
  if (ending) return false;
  if (queue.size() > 0 && idle_job != nullptr) {
    const std::shared_ptr<Job> job = running.front().job;  // it runs alone
    remove(running.begin());
    job->cancelled();
  }
  admit(lock);
  if (running.empty() && queue.size() == 0) admit_idle(lock);
  return true;
}

// Nothing else is to be done.
void EngineLoop::Impl::admit_idle(std::unique_lock<std::mutex>& lock) {
  if (idle.empty() || draining) return;
  std::shared_ptr<Job> job = std::move(idle.back());  // the latest conversation is the likeliest to go on
  idle.pop_back();
  lock.unlock();
  idle_job = job.get();
  start(std::move(job));
  lock.lock();
}

void EngineLoop::Impl::take_orders(std::unique_lock<std::mutex>& lock) {
  const auto asked = std::exchange(cancels, {});
  const bool all = std::exchange(abandoning, false) || ending;
  std::vector<std::shared_ptr<Job>> dropped;
  if (!asked.empty() || all) {
    dropped = queue.take([&](const Job& job) {
      return all || std::ranges::any_of(asked, [&](const auto& other) { return other.get() == &job; });
    });
  }
  lock.unlock();
  const ApiError stopping("the server is shutting down", {.status = 503, .retry_after_s = 1});
  for (const auto& job : dropped) {
    if (all) {
      job->failed(stopping);
    } else {
      job->cancelled();
    }
  }
  for (auto at = running.begin(); at != running.end();) {
    const auto next = std::next(at);
    const bool is_asked = std::ranges::find(asked, at->job) != asked.end();
    if (is_asked || all) {
      const std::shared_ptr<Job> job = at->job;
      remove(at);
      if (is_asked) {
        job->cancelled();
      } else {
        job->failed(stopping);
      }
    }
    at = next;
  }
  lock.lock();
}

// Moves jobs into the engine while its batch has room.
void EngineLoop::Impl::admit(std::unique_lock<std::mutex>& lock) {
  while (queue.size() > 0 && samples < options.engine.max_batch) {
    std::shared_ptr<Job> job = queue.pop();
    lock.unlock();
    start(std::move(job));
    lock.lock();
  }
}

void EngineLoop::Impl::start(std::shared_ptr<Job> job) {
  const auto at =
      running.insert(running.end(), {.job = job, .ids = {}, .left = samples_of(*job), .begin = Clock::now()});
  samples += at->left;
  try {
    for (size_t i = 0; i < job->requests.size(); ++i) {
      const Engine::RequestId id = engine.submit(job->requests[i]);
      at->ids.push_back(id);
      places.emplace(id, Place{at, i});
    }
  } catch (const Error& e) {
    remove(at);
    job->failed(api_error_of(e));
    return;
  } catch (const std::bad_alloc&) {
    remove(at);
    job->failed(ApiError("out of memory: ask again when fewer requests are in progress",
                         {.status = 503, .retry_after_s = 5}));
    return;
  }
  job->started();
}

void EngineLoop::Impl::step() {
  try {
    deal_out(engine.step(1));
    ++steps;
  } catch (const std::bad_alloc&) {
    fail_all(ApiError("out of memory", {.status = 503, .retry_after_s = 5}));
  } catch (const std::exception& e) {
    fail_all(ApiError(fmt::format("the engine failed: {}", e.what()), {.status = 500}));
  }
}

void EngineLoop::Impl::deal_out(Events& events) {
  std::set<std::pair<Engine::RequestId, int64_t>> ended;
  for (const Completion& c : events.ended) ended.emplace(c.request, c.sample);
  std::vector<std::pair<Engine::RequestId, int64_t>> stops;
  for (Events::Token& token : events.tokens) {
    const Place place = places.at(token.request);
    const Job::Action action = place.running->job->token(place.request, token);
    if (ended.contains({token.request, token.sample})) continue;
    if (action.stop) {
      stops.emplace_back(token.request, token.sample);
    } else if (!action.force.empty()) {
      engine.force(token.request, token.sample, action.force);
    }
  }
  const std::vector<Completion> over = std::exchange(events.ended, {});
  const std::vector<Events::Failure> failures = std::exchange(events.failed, {});
  for (const Completion& c : over) end_sample(c);
  for (const auto& [id, sample] : stops) end_sample(engine.stop(id, sample));
  for (const Events::Failure& f : failures) {
    const auto place = places.find(f.request);
    if (place == places.end()) continue;  // another request of its job has failed before
    const auto at = place->second.running;
    const std::shared_ptr<Job> job = at->job;
    remove(at);
    job->failed(ApiError(f.why, {.status = 400}));
  }
}

void EngineLoop::Impl::end_sample(const Completion& completion) {
  const auto place = places.find(completion.request);
  if (place == places.end()) return;
  const auto at = place->second.running;
  at->job->ended(place->second.request, completion);
  --samples;
  if (--at->left > 0) return;
  const std::shared_ptr<Job> job = at->job;
  if (job.get() == idle_job) {
    ++idle_jobs;
  } else {
    const double took = std::chrono::duration<double>(Clock::now() - at->begin).count();
    const std::lock_guard lock(mutex);
    job_seconds += (took - job_seconds) / 8;
  }
  remove(at);
  job->finished();
}

// Takes a job out of the engine, ended or not.
void EngineLoop::Impl::remove(std::list<Running>::iterator at) {
  for (const Engine::RequestId id : at->ids) {
    engine.cancel(id);
    places.erase(id);
  }
  samples -= at->left;
  if (at->job.get() == idle_job) idle_job = nullptr;
  running.erase(at);
}

void EngineLoop::Impl::expire() {
  const Clock::time_point now = Clock::now();
  std::vector<std::shared_ptr<Job>> waiting;
  {
    const std::lock_guard lock(mutex);
    waiting = queue.take([&](const Job& job) { return job.deadline <= now; });
  }
  for (const auto& job : waiting) {
    job->failed(ApiError("the request has waited for longer than the server's time limit",
                         {.status = 503, .code = "timeout", .retry_after_s = 5}));
  }
  for (auto at = running.begin(); at != running.end();) {
    const auto next = std::next(at);
    if (at->job->deadline <= now) {
      const std::shared_ptr<Job> job = at->job;
      remove(at);
      job->late();
      job->finished();
    }
    at = next;
  }
}

void EngineLoop::Impl::fail_all(const ApiError& why) {
  while (!running.empty()) {
    const std::shared_ptr<Job> job = running.front().job;
    remove(running.begin());
    job->failed(why);
  }
}

void EngineLoop::Impl::publish() {
  const std::lock_guard lock(mutex);
  known.queued = queue.size();
  known.running = std::ssize(running);
  known.samples = samples;
  known.steps = steps;
  known.idle_jobs = idle_jobs;
  known.engine = engine.statistics();
  known.kv_bytes = engine.kv_bytes();
}

EngineLoop::EngineLoop(const Model& model, Context& ctx, const EngineLoopOptions& options)
    : impl_(std::make_unique<Impl>(model, ctx, options)) {}

EngineLoop::~EngineLoop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->ending = true;
  }
  impl_->wake.notify_one();
  impl_->thread.join();
}

void EngineLoop::submit(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->draining) throw ApiError("the server is shutting down", {.status = 503, .retry_after_s = 1});
    if (impl_->queue.size() >= impl_->options.max_queue) {
      const double batches = static_cast<double>(impl_->queue.size()) /
                             static_cast<double>(std::max<int64_t>(impl_->options.engine.max_batch, 1));
      const double wait = std::ceil(impl_->job_seconds * (batches + 1));
      throw ApiError(fmt::format("the server is busy: {} requests are waiting", impl_->queue.size()),
                     {.status = 429,
                      .code = "queue_full",
                      .retry_after_s = static_cast<int64_t>(std::clamp(wait, 1.0, 60.0))});
    }
    impl_->queue.push(std::move(job));
  }
  impl_->wake.notify_one();
}

void EngineLoop::submit_idle(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->draining) return;
    impl_->idle.push_back(std::move(job));
    if (impl_->idle.size() > kMostIdle) impl_->idle.pop_front();
  }
  impl_->wake.notify_one();
}

void EngineLoop::cancel(std::shared_ptr<Job> job) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->cancels.push_back(std::move(job));
  }
  impl_->wake.notify_one();
}

void EngineLoop::drain() {
  const std::lock_guard lock(impl_->mutex);
  impl_->draining = true;
}

void EngineLoop::abandon() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->draining = impl_->abandoning = true;
  }
  impl_->wake.notify_one();
}

EngineLoop::State EngineLoop::state() const {
  const std::lock_guard lock(impl_->mutex);
  State state = impl_->known;
  state.queued = impl_->queue.size();
  return state;
}

}  // namespace r1
