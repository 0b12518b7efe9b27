// engine/scheduler.h: continuous batching: chooses the tokens of the next forward, and the pages that hold
// their keys. Pure bookkeeping: no tensors, no model.
//
// A request is a prompt and a number of samples of it. All of it runs as sequences: a sequence has tokens, of
// which the first `computed` have their keys in its pages; each step computes some of the rest. A prompt with
// several samples is a sequence of its own, computed once; every sample then continues from its pages. The
// only sample of a request continues in the pages of its prompt.
//
// Requests start in the order they came. Pages are taken as they are needed. When none is free, cached
// prefixes are forgotten, and then the youngest sequence is preempted: its pages are dropped, its tokens
// stay, and it is computed again when there is room. So the oldest sequence always advances. A request that
// reserves starts a sample only when all pages that the sample may ever need are free. None of this changes a
// bit of any result.
//
// Full pages are kept in a prefix tree, also after a request has ended, and are found by later requests with
// the same first tokens. Of sequences that need the same next page at the same time, one computes it and the
// others wait for it. A page that is split between a prompt and its sample stays with them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/page_pool.h"
#include "engine/prefix_tree.h"

namespace r1 {

struct SchedulerLimits {
  int64_t max_batch = 64;        // samples running at a time
  int64_t prefill_chunk = 2048;  // tokens per step, over all sequences that are behind
  int64_t pages = 0;             // of the pool
  bool keep_prefixes = true;     // share full pages between requests
  std::string numerics = {};     // names the pages' contents, with the weights and the owner
};

// A request in progress.
struct Group {
  int64_t id = 0;
  std::vector<int32_t> prompt;
  int64_t samples = 1;
  int64_t max_generated = 0;  // tokens of each sample
  bool reserve = false;
  bool fresh = false;  // every token of the prompt is computed; no page of it is shared with other requests
  std::string owner;

  uint64_t order = 0;              // of submission
  int64_t started = 0, ended = 0;  // samples
  // Tokens of the prompt whose pages others had computed. -1 before the prompt has begun.
  int64_t cached = -1;
};

struct Sequence {
  static constexpr int64_t kPrompt = -1;

  Group* group = nullptr;
  int64_t sample = 0;                // kPrompt: the prompt of several samples
  std::vector<int32_t> tokens;       // the prompt, then what was generated
  int64_t computed = 0;              // tokens whose keys are in the pages
  std::vector<int32_t> pages;        // page i holds positions i * kKeyTile and up
  int64_t prefix = 0;                // positions whose keys are in the prompt's pages, see Batch
  int32_t tail = -1;                 // the prompt's last page, if it is partly filled
  PrefixTree::Node* node = nullptr;  // the pages up to here are the tree's, too
  int64_t guessed = 0;             // the pages have keys of guesses up to here (engine/lookahead.h); 0: none
  bool again = false;              // it was preempted: its pages may be found in the tree as its own
  std::vector<int32_t> set_aside;  // for the first sample of a prompt that reserves

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  int64_t generated() const { return size() - static_cast<int64_t>(group->prompt.size()); }
  bool is_prompt() const { return sample == kPrompt; }
  // Returns true for a prompt whose samples can start.
  bool is_ready() const { return is_prompt() && computed == size(); }
};

// A row of the next forward: tokens [begin, end) of a sequence.
struct ScheduledRow {
  Sequence* sequence = nullptr;
  int64_t begin = 0, end = 0;
  // The caller wants the logits of tokens [logits_from, end). -1: of none, or of the last token if it ends
  // the sequence and the next one is drawn from it.
  int64_t logits_from = -1;
  // Tokens behind `end` whose keys and logits the row computes as well; the sequence decodes and has pages
  // for them. They are guesses of what will be drawn.
  std::span<const int32_t> guesses = {};
  int64_t tokens() const { return end - begin; }
  bool ends() const { return end == sequence->size(); }
  // Returns true if the sequence's next token is drawn after this row.
  bool draws() const { return ends() && !sequence->is_prompt(); }
  int64_t first_logits() const { return logits_from >= 0 ? logits_from : ends() ? end - 1 : end; }
};

struct Plan {
  std::vector<ScheduledRow> rows;
  // Tokens that every row may generate before the next plan. More than 1 only if every row decodes.
  int64_t steps = 1;
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerLimits limits);

  // Returns the pages that a request needs if it runs alone, one sample at a time.
  static int64_t pages_needed(int64_t prompt_tokens, int64_t samples, int64_t max_generated);
  // The request must fit into the pages. `order`, `started` and `ended` are the scheduler's.
  void submit(Group group);
  // Forgets a request and frees its pages. No effect if there is no such request.
  void cancel(int64_t id);

  // Starts samples of prompts that are ready while there is room. The caller draws the first token of each
  // from the prompt's logits.
  std::vector<Sequence*> start_samples();
  // Rows of the next forward, for up to `steps` tokens per sequence. Sequences that need a page are given
  // one. No rows: there is nothing to do.
  Plan plan(int64_t steps);
  // Called after the forward, which has set `computed` of every row's sequence.
  void advance(std::span<const ScheduledRow> rows);
  // Frees the pages of a sample that has ended. The last one of a request ends the request.
  void finish(Sequence* sequence);

  // Forgets all pages: the weights have changed. What is in progress is computed again.
  void forget_pages();
  // Adds free pages, up to `pages` in all.
  void grow(int64_t pages);

  // True if requests, samples or preempted sequences wait for their start.
  bool has_waiting() const;
  int64_t waiting_samples() const { return waiting_samples_; }  // of requests that have not started
  bool idle() const { return groups_.empty(); }
  int64_t running() const { return samples_; }  // samples
  int64_t pages() const { return pool_.size(); }
  int64_t free_pages() const { return pool_.free_pages(); }
  int64_t taken_pages() const { return pool_.taken(); }  // the first ones, which may have contents
  int64_t cached_pages() const { return tree_.pages(); }
  int64_t preemptions() const { return preemptions_; }
  int64_t cached_tokens() const { return cached_tokens_; }  // that were not computed, thanks to the tree

 private:
  using Age = std::pair<uint64_t, int64_t>;  // the smaller is the older
  using Sequences = std::vector<std::unique_ptr<Sequence>>;

  static Age age_of(const Sequence& s);
  static void insert(Sequences& into, std::unique_ptr<Sequence> sequence);
  int64_t own_pages(const Group& group) const;
  int64_t available() const;  // pages that are free or evictable, less those that running sequences need soon
  bool free_up(int64_t pages, const Age& age, bool may_preempt);
  bool take_pages(std::vector<int32_t>& into, int64_t count, const Age& age, bool may_preempt);
  bool hold(Sequence& s, int64_t positions);
  void release(Sequence& s);
  void preempt(size_t index);
  bool begin(Sequence& s);
  void resume();
  void admit();
  bool has_room_for_sample(const Group& group) const;
  bool fork(size_t prompt, std::vector<Sequence*>& started);
  using NextPage = std::pair<const PrefixTree::Node*, PrefixTree::Tokens>;
  std::optional<NextPage> next_page(const Sequence& s) const;
  int64_t more_steps(std::span<const ScheduledRow> rows, int64_t steps);
  void keep_full_pages(Sequence& s);
  void catch_up(Sequence& s);

  SchedulerLimits limits_;
  PagePool pool_;
  PrefixTree tree_;
  uint64_t weights_ = 0, orders_ = 0;
  std::map<int64_t, std::unique_ptr<Group>> groups_;
  std::deque<Group*> waiting_;
  Sequences running_, preempted_;  // from the oldest to the youngest
  int64_t samples_ = 0;            // of running_
  int64_t waiting_samples_ = 0;    // of waiting_
  int64_t preemptions_ = 0, cached_tokens_ = 0;
};

}  // namespace r1
