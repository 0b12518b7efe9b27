// engine/scheduler.h: continuous batching: chooses the tokens of the next forward. Pure bookkeeping: no
// tensors, no model.
//
// A request is a prompt and a number of samples of it. The prompt is prefilled once, in chunks. Each sample
// then continues from the prompt's pages, which all samples read, and decodes one token per step beside
// whatever else is running. Requests start in the order they came. A sample starts only when every page it
// may ever need is free, so nothing is ever evicted. None of this changes a bit of any result.
// need is free, so nothing is ever evicted. None of this changes a bit of any result.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/page_pool.h"

namespace r1 {

struct SchedulerLimits {
  int64_t max_batch = 64;        // samples decoding at a time
  int64_t prefill_chunk = 2048;  // prompt tokens per step, over all prompts
  int64_t pages = 0;             // of the pool
};

// One sample being decoded.
struct Sequence {
  int64_t request = 0;
  int64_t sample = 0;
  std::vector<int32_t> pages;  // the prompt's full ones, then its own
  int64_t prefix = 0;          // positions whose keys are in the prompt's pages
  int32_t tail = -1;           // the prompt's last page, if it is partly filled
  int64_t length = 0;          // positions whose keys are in the pages
  int32_t next_token = 0;      // the token at position `length`, not yet run
  int64_t generated = 0;
  int64_t max_generated = 0;
};

// One prompt: being prefilled, or done and waiting for its samples to start.
struct Prompt {
  int64_t request = 0;
  std::span<const int32_t> tokens;  // the caller keeps them alive
  int64_t done = 0;                 // positions prefilled
  int64_t samples = 1;
  int64_t started = 0;
  int64_t max_generated = 0;
  std::vector<int32_t> pages;
  std::vector<int32_t>
      first_pages;  // set aside for the first sample, so that a prefilled prompt can always go on
  bool ready() const { return done == static_cast<int64_t>(tokens.size()); }
};

// A row of the next forward: a decode token of a sequence, or tokens [begin, end) of a prompt.
struct ScheduledRow {
  Sequence* sequence = nullptr;
  Prompt* prompt = nullptr;
  int64_t begin = 0, end = 0;
  int64_t tokens() const { return sequence != nullptr ? 1 : end - begin; }
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  // Returns false if the request can never fit: its prompt and one sample need more pages than there are.
  bool fits(int64_t prompt_tokens, int64_t max_generated) const;
  void submit(int64_t request, std::span<const int32_t> prompt, int64_t samples, int64_t max_generated);

  // Starts samples of prefilled prompts while there is room. The caller gives each its first token, from the
  // prompt's logits.
  struct Started {
    Sequence* sequence;
    Prompt* prompt;
  };
  std::vector<Started> start_samples();
  // Rows of the next forward; empty if there is nothing to do.
  std::vector<ScheduledRow> plan();
  // Called after the forward: prompts advance, and each sequence's token is in the pages.
  void advance(std::span<const ScheduledRow> rows);
  void finish(Sequence* sequence);
  // Releases the pages of prompts whose samples have all started.
  void retire_prompts();

  // True if prompts, or samples of them, have not started.
  bool has_waiting() const { return !waiting_.empty() || !prompts_.empty(); }
  bool idle() const { return running_.empty() && prompts_.empty() && waiting_.empty(); }
  int64_t running() const { return static_cast<int64_t>(running_.size()); }

 private:
  int64_t own_pages(const Prompt& prompt) const;  // pages of a sample that it does not share with its prompt
  void admit();

  SchedulerLimits limits_;
  PagePool pool_;
  std::deque<Prompt> waiting_;
  std::vector<std::unique_ptr<Prompt>> prompts_;
  std::vector<std::unique_ptr<Sequence>> running_;
};

}  // namespace r1
