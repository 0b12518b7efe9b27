// Continuous batching without a model: every sample runs once, no page is lost, limits hold.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tensor/batch.h"

namespace r1 {
namespace {

struct Load {
  std::vector<int32_t> prompt;
  int64_t samples, max_generated;
};

// Drives a scheduler as the engine does, ends samples at random, and checks the invariants at every step.
std::map<std::pair<int64_t, int64_t>, int64_t> drive(Scheduler& s, const SchedulerLimits& limits,
                                                     uint64_t seed) {
  Random random(seed);
  std::map<std::pair<int64_t, int64_t>, int64_t> generated;
  for (int guard = 0; guard < 100000; ++guard) {
    for (;;) {
      const auto started = s.start_samples();
      if (started.empty()) break;
      for (const auto& [sequence, prompt] : started) {
        EXPECT_EQ(sequence->length, static_cast<int64_t>(prompt->tokens.size()));
        EXPECT_EQ(sequence->prefix, sequence->length);
        EXPECT_EQ(sequence->tail, sequence->length % kKeyTile == 0 ? -1 : prompt->pages.back());
        const bool inserted = generated.emplace(std::pair(sequence->request, sequence->sample), 1).second;
        EXPECT_TRUE(inserted) << "a sample started twice";
        sequence->generated = 1;
        if (sequence->generated == sequence->max_generated || random.below(10) == 0) s.finish(sequence);
      }
      s.retire_prompts();
    }
    const auto rows = s.plan();
    if (rows.empty()) break;
    int64_t decoding = 0, prefill = 0;
    std::set<int32_t> written;  // the page to which each row writes next; rows must not share one
    std::set<int32_t> read;     // prompts' pages that samples still read
    for (const ScheduledRow& row : rows) {
      if (row.sequence != nullptr) {
        ++decoding;
        const auto page = row.sequence->pages.at(static_cast<size_t>(row.sequence->length / kKeyTile));
        EXPECT_TRUE(written.insert(page).second) << "two rows write to page " << page;
        if (row.sequence->tail >= 0) read.insert(row.sequence->tail);
      } else {
        prefill += row.end - row.begin;
      }
    }
    for (const int32_t page : read) EXPECT_FALSE(written.contains(page)) << page << " is a prompt's";
    EXPECT_LE(decoding, limits.max_batch);
    EXPECT_LE(prefill, limits.prefill_chunk);
    s.advance(rows);
    for (const ScheduledRow& row : rows) {
      if (row.sequence == nullptr) continue;
      ++generated[{row.sequence->request, row.sequence->sample}];
      ++row.sequence->generated;
      if (row.sequence->generated == row.sequence->max_generated || random.below(10) == 0)
        s.finish(row.sequence);
    }
  }
  return generated;
}

TEST(Scheduler, RunsEverySampleOnceWithinItsLimits) {
  Random random(4);
  for (uint64_t round = 0; round < 60; ++round) {
    std::vector<Load> loads;
    int64_t most = 1;
    for (int64_t i = random.between(1, 12); i > 0; --i) {
      loads.push_back({std::vector<int32_t>(static_cast<size_t>(random.between(1, 130)), 1),
                       random.between(1, 9), random.between(1, 80)});
      const int64_t length = static_cast<int64_t>(loads.back().prompt.size());
      most =
          std::max(most, (length + 31) / 32 + (length + loads.back().max_generated + 31) / 32 - length / 32);
    }
    SchedulerLimits limits{.max_batch = random.between(1, 20),
                           .prefill_chunk = random.between(1, 200),
                           .pages = most + random.below(40)};
    Scheduler s(limits);
    size_t samples = 0;
    for (size_t i = 0; i < loads.size(); ++i) {
      s.submit(static_cast<int64_t>(i), loads[i].prompt, loads[i].samples, loads[i].max_generated);
      samples += static_cast<size_t>(loads[i].samples);
    }
    const auto generated = drive(s, limits, round);
    EXPECT_EQ(generated.size(), samples);
    EXPECT_TRUE(s.idle());
    for (const auto& [key, n] : generated) EXPECT_LE(n, loads[static_cast<size_t>(key.first)].max_generated);
  }
}

TEST(Scheduler, SaysWhatCanNeverFit) {
  const Scheduler s({.max_batch = 4, .prefill_chunk = 32, .pages = 4});
  EXPECT_TRUE(s.fits(32, 64));
  EXPECT_FALSE(s.fits(100, 64));
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
}

}  // namespace
}  // namespace r1
