// Converts scheduled rows to a batch, and tests the conditions under which a batch goes in parts.
#include "engine/row_batch.h"

#include <gtest/gtest.h>

namespace r1::row_batch_test {
namespace {

template <class T>
std::vector<T> list(std::span<const T> x) {
  return {x.begin(), x.end()};
}

TEST(RowBatch, HoldsTokensPagesAndWhoseLogitsAreWanted) {
  Group group;
  Sequence early, late, decoding;  // the first continues after this batch, the others end with it
  early.group = late.group = decoding.group = &group;
  early.sample = late.sample = Sequence::kPrompt;
  early.tokens = late.tokens = {10, 11, 12, 13, 14};
  early.pages = {7};
  late.pages = {8};
  decoding.tokens.assign(40, 1);
  decoding.tokens.push_back(99);
  decoding.pages = {3, 5, 4};
  decoding.prefix = 35;
  decoding.tail = 9;
  const std::vector<ScheduledRow> rows{{.sequence = &early, .begin = 1, .end = 3},
                                       {.sequence = &decoding, .begin = 40, .end = 41},
                                       {.sequence = &late, .begin = 3, .end = 5}};
  EXPECT_FALSE(rows[0].draws());
  EXPECT_TRUE(rows[1].draws());
  EXPECT_FALSE(rows[2].draws()) << "its samples draw";
  RowBatch batch;
  for (int again = 0; again < 2; ++again) {  // nothing is left of an earlier batch
    batch.build(rows);
    const Batch view = batch.view();
    EXPECT_EQ(list(view.tokens), (std::vector<int32_t>{11, 12, 99, 13, 14}));
    EXPECT_EQ(list(view.positions), (std::vector<int32_t>{1, 2, 40, 3, 4}));
    EXPECT_EQ(list(view.offsets), (std::vector<int32_t>{0, 2, 3, 5}));
    EXPECT_EQ(view.max_pages, 3);
    EXPECT_EQ(list(view.pages), (std::vector<int32_t>{7, -1, -1, 3, 5, 4, 8, -1, -1}));
    EXPECT_EQ(list(view.prefixes), (std::vector<int64_t>{0, 35, 0}));
    EXPECT_EQ(list(view.tails), (std::vector<int32_t>{-1, 9, -1}));
    EXPECT_EQ(list(batch.wanted_tokens()), (std::vector<int32_t>{2, 4}));
    EXPECT_EQ(batch.first_logits(0), 0);
    EXPECT_EQ(batch.first_logits(1), 0) << "the first row wants none";
    EXPECT_EQ(batch.first_logits(2), 1);
    EXPECT_EQ(batch.first_logits(3), 2);
  }
  batch.build(std::span(rows).subspan(1, 1));
  EXPECT_EQ(list(batch.view().tokens), (std::vector<int32_t>{99}));
  EXPECT_EQ(list(batch.wanted_tokens()), (std::vector<int32_t>{0}));
}

TEST(RowBatch, ARowMayWantSeveralLogits) {
  Group group;
  Sequence a, b;
  a.group = b.group = &group;
  a.sample = b.sample = Sequence::kPrompt;
  a.tokens = b.tokens = {10, 11, 12, 13, 14};
  a.pages = b.pages = {0};
  const std::vector<ScheduledRow> rows{{.sequence = &a, .begin = 0, .end = 4, .logits_from = 1},
                                       {.sequence = &b, .begin = 2, .end = 4},
                                       {.sequence = &b, .begin = 0, .end = 5, .logits_from = 0}};
  RowBatch batch;
  batch.build(rows);
  EXPECT_EQ(list(batch.wanted_tokens()), (std::vector<int32_t>{1, 2, 3, 6, 7, 8, 9, 10}));
  EXPECT_EQ(batch.first_logits(1), 3);
  EXPECT_EQ(batch.first_logits(2), 3);
  EXPECT_EQ(batch.first_logits(3), 8);
}

TEST(RowBatch, GoesInPartsWhereASmallModelDecodes) {
  constexpr int64_t kSmall = int64_t{5} << 20, kLarge = int64_t{5} << 30;
  EXPECT_TRUE(decodes_in_parts(16, kSmall, 2));
  EXPECT_TRUE(decodes_in_parts(16, kSmall, 4));
  EXPECT_FALSE(decodes_in_parts(16, kSmall, 1));
  EXPECT_FALSE(decodes_in_parts(16, kSmall, 64)) << "too few rows for so many threads";
  EXPECT_FALSE(decodes_in_parts(16, kLarge, 2)) << "every part would read all weights from memory";
  EXPECT_FALSE(decodes_in_parts(4, kSmall, 2));
}

}  // namespace
}  // namespace r1::row_batch_test
