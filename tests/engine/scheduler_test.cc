// Continuous batching without a model. Pages are simulated: each slot holds a hash of the tokens up to its
// position, so a row that reads a wrong, stale or overwritten page is seen.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tensor/batch.h"

namespace r1::scheduler_test {
namespace {

using Key = std::pair<int64_t, int64_t>;  // request, sample

uint64_t mixed(uint64_t hash, int32_t token) {
  return (hash ^ static_cast<uint64_t>(token + 1)) * 0x9E3779B97F4A7C15u ^ (hash >> 29);
}

// Drives a scheduler as the engine does and checks the invariants at every step.
class Machine {
 public:
  Machine(const SchedulerLimits& limits, uint64_t seed) : limits_(limits), random_(seed), s_(limits) {
    slots_.resize(static_cast<size_t>(limits.pages * kKeyTile));
  }

  Scheduler& scheduler() { return s_; }
  Random& random() { return random_; }
  const std::map<Key, int64_t>& finished() const { return finished_; }  // tokens of each
  int64_t computed() const { return computed_; }

  int64_t submit(std::vector<int32_t> prompt, int64_t samples, int64_t most, bool reserve,
                 std::string owner = {}) {
    const int64_t id = next_++;
    live_[id] = {prompt, samples, most};
    s_.submit({.id = id,
               .prompt = std::move(prompt),
               .samples = samples,
               .max_generated = most,
               .reserve = reserve,
               .owner = std::move(owner)});
    return id;
  }

  void cancel(int64_t id) {
    s_.cancel(id);
    live_.erase(id);
    std::erase_if(drawn_, [&](const auto& entry) { return entry.first.first == id; });
    if (oldest_ && oldest_->first == id) oldest_.reset();
  }

  std::vector<int64_t> live() const {
    std::vector<int64_t> ids;
    for (const auto& [id, load] : live_) ids.push_back(id);
    return ids;
  }

  void change_weights() {
    s_.forget_pages();
    ++weights_;
    oldest_.reset();
    EXPECT_EQ(s_.free_pages(), s_.pages());
    EXPECT_EQ(s_.cached_pages(), 0);
  }

  // Returns false if there was nothing to do.
  bool step(int64_t steps, int64_t ends_one_in) {
    for (;;) {
      const std::vector<Sequence*> started = s_.start_samples();
      if (started.empty()) break;
      for (Sequence* s : started) {
        EXPECT_EQ(s->computed, static_cast<int64_t>(s->group->prompt.size()));
        EXPECT_EQ(s->prefix, s->computed);
        EXPECT_EQ(s->tail >= 0, s->computed % kKeyTile != 0);
        check_contents(*s, s->computed);
        draw(*s, ends_one_in);
      }
    }
    const Plan plan = s_.plan(steps);
    if (plan.rows.empty()) {
      EXPECT_TRUE(s_.idle());
      return false;
    }
    check(plan);
    EXPECT_LE(plan.steps, steps);
    std::set<Sequence*> ended;
    for (int64_t i = random_.between(1, plan.steps); i > 0; --i) {
      for (const ScheduledRow& row : plan.rows) {
        if (ended.contains(row.sequence)) continue;
        Sequence& s = *row.sequence;
        const int64_t end = plan.steps == 1 ? row.end : s.size();
        check_contents(s, s.computed);
        compute(s, end);
        if (!s.is_prompt() && s.computed == s.size() && make_token(s, ends_one_in)) ended.insert(&s);
      }
    }
    remember_oldest(plan);
    s_.advance(plan.rows);
    for (const ScheduledRow& row : plan.rows) check_contents(*row.sequence, row.sequence->computed);
    for (const ScheduledRow& row : plan.rows) {
      if (ended.contains(row.sequence)) finish(*row.sequence);
    }
    return true;
  }

 private:
  struct Load {
    std::vector<int32_t> prompt;
    int64_t samples, most;
  };

  static Key key(const Sequence& s) { return {s.group->id, s.sample}; }

  uint64_t& slot(const Sequence& s, int64_t position) {
    const int32_t page = s.tail >= 0 && position < s.prefix && position / kKeyTile == s.prefix / kKeyTile
                             ? s.tail
                             : s.pages.at(static_cast<size_t>(position / kKeyTile));
    return slots_.at(static_cast<size_t>(page * kKeyTile + position % kKeyTile));
  }

  uint64_t start(const Sequence& s) const {
    return mixed(weights_ + 77, static_cast<int32_t>(s.group->owner.size()));
  }

  void check_contents(const Sequence& s, int64_t count) {
    uint64_t hash = start(s);
    for (int64_t i = 0; i < count; ++i) {
      hash = mixed(hash, s.tokens[static_cast<size_t>(i)]);
      ASSERT_EQ(slot(s, i), hash) << "request " << s.group->id << ", sample " << s.sample << ", position "
                                  << i;
    }
  }

  void compute(Sequence& s, int64_t end) {
    uint64_t hash = start(s);
    for (int64_t i = 0; i < end; ++i) {
      hash = mixed(hash, s.tokens[static_cast<size_t>(i)]);
      if (i >= s.computed) slot(s, i) = hash;
    }
    computed_ += end - s.computed;
    s.computed = end;
  }

  // The token is a function of the request, as the engine's is. Returns true if it is the last.
  bool make_token(Sequence& s, int64_t ends_one_in) {
    const int64_t n = ++drawn_[key(s)];
    EXPECT_EQ(n, s.generated() + 1) << "a token is drawn twice or left out";
    s.tokens.push_back(static_cast<int32_t>(1000 + s.group->id * 7 + s.sample * 3 + n));
    return s.generated() == s.group->max_generated || random_.below(ends_one_in) == 0;
  }

  void draw(Sequence& s, int64_t ends_one_in) {
    if (make_token(s, ends_one_in)) finish(s);
  }

  void finish(Sequence& s) {
    EXPECT_TRUE(finished_.emplace(key(s), s.generated()).second) << "a sample ended twice";
    if (oldest_ == key(s)) oldest_.reset();
    Load& load = live_.at(s.group->id);
    if (--load.samples == 0) live_.erase(s.group->id);
    s_.finish(&s);
  }

  void check(const Plan& plan) {
    int64_t samples = 0, prefill = 0;
    std::set<int32_t> written, read;
    for (const ScheduledRow& row : plan.rows) {
      const Sequence& s = *row.sequence;
      EXPECT_EQ(row.begin, s.computed);
      EXPECT_GT(row.end, row.begin);
      EXPECT_LE(row.end, s.size());
      EXPECT_GE(s.computed, s.prefix);
      if (!s.is_prompt()) ++samples;
      if (s.is_prompt() || s.generated() == 0 || row.tokens() > 1) prefill += row.tokens();
      for (int64_t page = row.begin / kKeyTile; page * kKeyTile < row.end; ++page)
        EXPECT_TRUE(written.insert(s.pages.at(static_cast<size_t>(page))).second)
            << "two rows write to a page";
      for (int64_t page = 0; page < row.begin / kKeyTile; ++page)
        read.insert(s.pages[static_cast<size_t>(page)]);
      if (s.tail >= 0) read.insert(s.tail);
      if (plan.steps > 1) {
        EXPECT_EQ(row.tokens(), 1);
        const int64_t most = std::min(plan.steps, s.group->max_generated - s.generated());
        EXPECT_GE(std::ssize(s.pages) * kKeyTile, s.computed + most) << "a page for every further token";
      }
    }
    for (const int32_t page : written) EXPECT_FALSE(read.contains(page)) << page << " is read by another row";
    EXPECT_LE(samples, limits_.max_batch);
    EXPECT_LE(prefill, limits_.prefill_chunk);
    // Who was the oldest sample runs on, and has lost nothing.
    if (!oldest_) return;
    const auto row =
        std::ranges::find_if(plan.rows, [&](const auto& r) { return key(*r.sequence) == *oldest_; });
    ASSERT_NE(row, plan.rows.end()) << "the oldest sample does not run";
    EXPECT_EQ(row->begin, oldest_computed_) << "the oldest sample was preempted";
  }

  void remember_oldest(const Plan& plan) {
    oldest_.reset();
    for (const ScheduledRow& row : plan.rows) {
      const Sequence& s = *row.sequence;
      if (s.is_prompt() || s.group->id != live_.begin()->first || (oldest_ && *oldest_ < key(s))) continue;
      oldest_ = key(s);
      oldest_computed_ = s.computed;
    }
  }

  SchedulerLimits limits_;
  Random random_;
  Scheduler s_;
  std::vector<uint64_t> slots_;
  uint64_t weights_ = 0;
  int64_t next_ = 0, computed_ = 0;
  std::map<int64_t, Load> live_;
  std::map<Key, int64_t> drawn_, finished_;
  std::optional<Key> oldest_;  // the oldest sample of the last step, if it goes on
  int64_t oldest_computed_ = 0;
};

std::vector<int32_t> random_prompt(Random& random, int64_t longest) {
  // A quarter of the prompts have the same beginning.
  std::vector<int32_t> prompt;
  const int64_t n = random.between(1, longest), alike = random.below(4) == 0 ? n * 3 / 4 : 0;
  for (int64_t i = 0; i < n; ++i)
    prompt.push_back(static_cast<int32_t>(i < alike ? i % 50 : random.below(1000000)));
  return prompt;
}

struct Round {
  bool reserve = false, cancels = false, weights = false;
  int64_t requests = 12;
};

// Returns the number of preemptions.
int64_t play(uint64_t seed, const Round& round) {
  Random random(seed);
  const int64_t longest = 130, most = 80;
  SchedulerLimits limits{.max_batch = random.between(1, 20),
                         .prefill_chunk = random.between(1, 200),
                         .pages = Scheduler::pages_needed(longest, 2, most) + random.below(30),
                         .keep_prefixes = random.below(4) != 0};
  Machine m(limits, seed);
  int64_t submitted = 0;
  std::map<int64_t, int64_t> wanted, allowed;  // samples and tokens by request
  for (int guard = 0; guard < 200000; ++guard) {
    if (submitted < round.requests && random.below(3) == 0) {
      ++submitted;
      const int64_t samples = random.below(2) == 0 ? 1 : random.between(1, 9),
                    tokens = random.between(1, most);
      const int64_t id = m.submit(random_prompt(random, longest), samples, tokens, round.reserve,
                                  random.below(5) == 0 ? "anna" : "");
      wanted[id] = samples;
      allowed[id] = tokens;
      continue;
    }
    const std::vector<int64_t> live = m.live();
    if (round.cancels && !live.empty() && random.below(40) == 0) {
      const int64_t id = live[static_cast<size_t>(random.below(std::ssize(live)))];
      m.cancel(id);
      wanted.erase(id);
      continue;
    }
    if (round.weights && random.below(60) == 0) m.change_weights();
    if (!m.step(random.between(1, 16), random.between(5, 60)) && submitted == round.requests) break;
    if (testing::Test::HasFatalFailure()) return 0;
  }
  EXPECT_TRUE(m.scheduler().idle()) << "seed " << seed;
  for (const auto& [id, samples] : wanted) {
    for (int64_t i = 0; i < samples; ++i) {
      const auto at = m.finished().find({id, i});
      EXPECT_NE(at, m.finished().end())
          << "seed " << seed << ": sample " << i << " of " << id << " did not end";
      if (at == m.finished().end()) continue;
      EXPECT_LE(at->second, allowed.at(id));
    }
  }
  EXPECT_EQ(m.scheduler().free_pages() + m.scheduler().cached_pages(), limits.pages) << "a page is lost";
  const int64_t preemptions = m.scheduler().preemptions();
  m.scheduler().forget_pages();
  EXPECT_EQ(m.scheduler().free_pages(), limits.pages);
  return preemptions;
}

TEST(Scheduler, RunsEverySampleOnceAndTheOldestIsNeverPreempted) {
  int64_t preemptions = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) preemptions += play(seed, {});
  EXPECT_GT(preemptions, 100) << "the pages suffice: nothing is tested";
}

TEST(Scheduler, CancelsAndChangedWeightsLoseNoPage) {
  for (uint64_t seed = 100; seed < 160; ++seed)
    play(seed, {.cancels = true, .weights = seed % 2 == 0, .requests = 30});
}

TEST(Scheduler, WhatReservesIsNeverPreempted) {
  for (uint64_t seed = 200; seed < 240; ++seed) EXPECT_EQ(play(seed, {.reserve = true}), 0) << seed;
}

TEST(Scheduler, ReservingAndGrowingRequestsTakeTurns) {
  Random random(5);
  SchedulerLimits limits{.max_batch = 8, .prefill_chunk = 64, .pages = 12};
  Machine m(limits, 5);
  for (int i = 0; i < 40; ++i)
    m.submit(random_prompt(random, 60), random.between(1, 4), 50, random.below(2) == 0);
  for (int guard = 0; guard < 100000 && m.step(8, 100); ++guard) {
  }
  EXPECT_TRUE(m.scheduler().idle());
  EXPECT_GT(m.scheduler().preemptions(), 0);
}

TEST(Scheduler, APrefixIsComputedOnce) {
  Machine m({.max_batch = 4, .prefill_chunk = 1000, .pages = 40}, 1);
  std::vector<int32_t> prompt(100, 5);
  m.submit(prompt, 1, 40, false);
  while (m.step(1, 1000)) {
  }
  EXPECT_EQ(m.computed(), 139) << "the last token's keys are not needed";
  m.submit(prompt, 3, 1, false);
  while (m.step(1, 1000)) {
  }
  EXPECT_EQ(m.computed(), 139 + 4) << "three pages of the prompt are known";
  m.submit(prompt, 1, 1, false, "anna");
  while (m.step(1, 1000)) {
  }
  EXPECT_EQ(m.computed(), 139 + 4 + 100) << "another owner's pages are not shared";
  m.change_weights();
  m.submit(prompt, 1, 1, false);
  while (m.step(1, 1000)) {
  }
  EXPECT_EQ(m.computed(), 139 + 4 + 100 + 100) << "no page of the old weights is used";
  EXPECT_EQ(m.scheduler().cached_tokens(), 96);
}

// Requests that come together wait for the one that computes what they share.
TEST(Scheduler, APrefixOfRequestsThatComeTogetherIsComputedOnce) {
  for (const bool reserve : {false, true}) {
    Machine m({.max_batch = 8, .prefill_chunk = 70, .pages = 60}, 1);
    std::vector<int32_t> prompt(100, 5);
    for (int32_t last = 0; last < 4; ++last) {
      prompt.back() = last;
      m.submit(prompt, last == 0 ? 1 : 2, 1, reserve);
    }
    m.submit(prompt, 1, 1, reserve, "anna");
    while (m.step(1, 1000)) {
    }
    EXPECT_EQ(m.computed(), 100 + 3 * 4 + 100);
    EXPECT_EQ(m.scheduler().cached_tokens(), 3 * 96);
    EXPECT_EQ(m.scheduler().free_pages() + m.scheduler().cached_pages(), 60);
  }
}

// A turn of a conversation continues from the pages of the answer before.
TEST(Scheduler, TheAnswerIsAKnownPrefixOfTheNextTurn) {
  Machine m({.max_batch = 4, .prefill_chunk = 1000, .pages = 40}, 1);
  m.submit(std::vector<int32_t>(50, 5), 1, 80, false);
  std::vector<int32_t> said(50, 5);
  while (m.step(1, 100000)) {
  }
  for (int64_t n = 1; n <= 80; ++n) said.push_back(static_cast<int32_t>(1000 + n));
  said.push_back(3);
  m.submit(said, 1, 1, false);
  while (m.step(1, 1000)) {
  }
  EXPECT_EQ(m.scheduler().cached_tokens(), 128);
}

TEST(Scheduler, AFullPromptIsComputedUpToItsLastToken) {
  Machine m({.max_batch = 4, .prefill_chunk = 1000, .pages = 40}, 1);
  const std::vector<int32_t> prompt(64, 5);
  for (int again = 0; again < 2; ++again) {
    m.submit(prompt, 2, 3, false);
    while (m.step(1, 1000)) {
    }
  }
  EXPECT_EQ(m.scheduler().cached_tokens(), 32) << "the last page is computed again for its logits";
}

TEST(Scheduler, MorePagesDisturbNothing) {
  Machine m({.max_batch = 4, .prefill_chunk = 1000, .pages = 4}, 1);
  EXPECT_THROW(m.submit(std::vector<int32_t>(100, 1), 1, 64, false), BrokenInvariant);
  EXPECT_EQ(Scheduler::pages_needed(100, 1, 64), 6);
  EXPECT_EQ(Scheduler::pages_needed(100, 2, 64), 7) << "the prompt's last page and each sample's";
  EXPECT_EQ(Scheduler::pages_needed(96, 2, 64), 5) << "no page is split";
  m.scheduler().grow(6);
  EXPECT_EQ(m.scheduler().free_pages(), 6);
}

TEST(PagePool, SharedPagesAreFreeOnlyWhenNobodyHoldsThem) {
  PagePool pool(2);
  const int32_t a = pool.take();
  pool.share(a);
  pool.drop(a);
  EXPECT_EQ(pool.free_pages(), 1);
  pool.drop(a);
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_THROW(pool.drop(a), BrokenInvariant);
  pool.grow(3);
  std::set<int32_t> taken{pool.take(), pool.take(), pool.take()};
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2}));
}

}  // namespace
}  // namespace r1::scheduler_test
