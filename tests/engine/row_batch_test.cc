// Converts scheduled rows to a batch, and tests the conditions under which a batch goes in parts.
#include "engine/row_batch.h"

#include <gtest/gtest.h>

namespace r1 {
namespace {

template <class T>
std::vector<T> list(std::span<const T> x) {
  return {x.begin(), x.end()};
}

TEST(RowBatch, HoldsTokensPagesAndWhoseLogitsAreWanted) {
  const std::vector<int32_t> text{10, 11, 12, 13, 14};
  Prompt early, late;  // the first continues after this batch, the second ends with it
  early.tokens = late.tokens = text;
  early.pages = {7};
  late.pages = {8};
  Sequence decoding;
  decoding.pages = {3, 5, 4};
  decoding.length = 40;
  decoding.prefix = 35;
  decoding.tail = 9;
  decoding.next_token = 99;
  const std::vector<ScheduledRow> rows{{.prompt = &early, .begin = 1, .end = 3},
                                       {.sequence = &decoding},
                                       {.prompt = &late, .begin = 3, .end = 5}};
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
    EXPECT_EQ(list(batch.last_tokens()), (std::vector<int32_t>{2, 4}));
    EXPECT_EQ(batch.logits_row(0), -1);
    EXPECT_EQ(batch.logits_row(1), 0);
    EXPECT_EQ(batch.logits_row(2), 1);
  }
  batch.build(std::span(rows).subspan(1, 1));
  EXPECT_EQ(list(batch.view().tokens), (std::vector<int32_t>{99}));
  EXPECT_EQ(list(batch.last_tokens()), (std::vector<int32_t>{0}));
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
}  // namespace r1
