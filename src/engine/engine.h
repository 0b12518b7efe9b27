// engine/engine.h: prompts in, samples out, one step at a time. `r1 run`, `r1 generate`, `r1 eval` and the
// trainer all use it.
//
// A sample is a pure function of (weights, prompt, sampling parameters, random key, numerics). What else is
// in progress, chunking, threads, shared prefixes, preemption and the time of submission change no bit of its
// tokens or log-probs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/op_runner.h"
#include "engine/request.h"
#include "model/model.h"

namespace r1 {

struct EngineOptions {
  int64_t max_batch = 64;
  int64_t prefill_chunk = 2048;
  // Upper bound of the cache. 0: it grows to what max_batch sequences of the longest request need, unless the
  // machine has less memory.
  int64_t kv_bytes = 0;
  // A sample starts only when all pages that it may ever need are free, so that nothing is computed twice.
  // Otherwise pages are taken as they are needed, and samples may be preempted.
  bool reserve = false;
  // Full pages of tokens are shared between requests and kept after they end, until their memory is needed.
  bool keep_prefixes = true;
  // The most tokens per step that are guessed for a sequence (engine/lookahead.h) while few sequences decode;
  // 0: none.
  int64_t lookahead = 0;
};

// The events of one step.
struct Events {
  struct Token {
    int64_t request = 0, sample = 0;
    int32_t token = 0;
    float logprob = 0;
    std::vector<Sampled> likeliest = {};  // Request::top_logprobs of them
  };
  struct Failure {
    int64_t request = 0;
    std::string why;
  };
  std::vector<Token> tokens;      // those of one sample in order
  std::vector<Completion> ended;  // samples that ended; their last tokens are in `tokens`, too
  std::vector<Failure> failed;    // requests that ended with an error; their other samples are dropped
};

// Returns the pages that an engine's cache has without a bound, for so many samples whose prompt and answer
// have at most `longest` tokens together: for a full batch and for prompts that are prefilled ahead, with a
// partly filled page for each.
int64_t cache_pages(int64_t max_batch, int64_t samples, int64_t longest);

class Engine {
 public:
  using RequestId = int64_t;

  // The context carries no tape; model and context outlive the engine.
  Engine(const Model& model, Context& ctx, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request. Ids count up from 0. Throws Error if it can never be answered: check_request(), or a
  // cache that is too small for it alone.
  RequestId submit(Request request);
  // Ends a request without further events. Its pages are free before the next step. No effect if it has
  // ended.
  void cancel(RequestId id);
  // Ends one sample now, with finish reason stop, and returns what it has. Throws Error if it is not in
  // progress.
  Completion stop(RequestId id, int64_t sample);
  // The sample's next tokens are these, before anything is drawn again. They are part of the sample, with the
  // model's own log-probs, and count as generated; draws after them use the random numbers of their own
  // positions. Throws Error if the sample is not in progress or a token is not in the vocabulary.
  void force(RequestId id, int64_t sample, std::span<const int32_t> tokens);
  // Advances what is in progress, if there is anything, by at least one forward or the first tokens of
  // samples. Every sample makes at most `tokens` tokens, or as many as are efficient if it is 0. The result
  // is valid until the next call of step() or stop().
  //
  // If it throws (out of memory), the requests in progress must be cancelled.
  Events& step(int64_t tokens = 1);
  bool idle() const;  // nothing is in progress

  // Must be called after the model's weights have changed, before the next step. Cached prefixes are
  // forgotten, and what is in progress is computed again with the new weights. (Changes that
  // Parameter::version counts are noticed without it.)
  void weights_changed();

  // Called for each token as it is made (streaming). If it returns false, the sample ends with finish reason
  // stop.
  using OnToken = std::function<bool(int64_t request, int64_t sample, int32_t token)>;
  // Called for each sample as it ends.
  using OnDone = std::function<void(const Completion&)>;

  // Called for each request that cannot go on, with the reason.
  using OnFailed = std::function<void(int64_t request, const std::string& why)>;

  // Runs all requests to their end and hands each completion to on_done as it ends; memory holds only the
  // samples in progress. The engine must be idle. Throws Error for an impossible request before anything
  // runs. A request that fails is handed to on_failed, and the others go on; without on_failed, Error is
  // thrown. Afterwards, also if a callback has thrown, the engine is idle.
  void stream(std::span<const Request> requests, const OnDone& on_done, const OnToken& on_token = {},
              const OnFailed& on_failed = {});

  // The same; returns the completions in order of (request, sample).
  std::vector<Completion> run(std::span<const Request> requests, const OnToken& on_token = {},
                              const OnDone& on_done = {});

  int64_t kv_bytes() const;  // bytes of the cache: the most that was needed so far
  // Peak bytes of the per-thread arenas (part_activations); the context's arena holds the rest.
  int64_t part_bytes() const;

  struct Statistics {
    int64_t pages = 0, free_pages = 0;  // free: neither in use nor cached
    int64_t cached_pages = 0;           // known to the prefix tree
    int64_t cached_tokens = 0;  // so far, tokens that were not computed because their pages were cached
    int64_t preemptions = 0;    // so far
    LookaheadCounts lookahead = {};
  };
  Statistics statistics() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
