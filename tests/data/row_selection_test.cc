#include "data/row_selection.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace r1::row_selection_test {
namespace {

using Choice = RowChooser::Choice;

TEST(RowSelection, ARepeatedRowIsUsedOnceWhateverItsWhiteSpace) {
  RowChooser chooser({});
  EXPECT_EQ(chooser.choose("q", "q a"), Choice::use);
  EXPECT_EQ(chooser.choose("q", " q \n\t a "), Choice::duplicate);
  EXPECT_EQ(chooser.choose("q", "q b"), Choice::use);
  RowChooser keeps({.deduplicate = false});
  EXPECT_EQ(keeps.choose("q", "q a"), Choice::use);
  EXPECT_EQ(keeps.choose("q", "q a"), Choice::use);
}

TEST(RowSelection, TheTwoSidesAreDisjointAndCoverAll) {
  RowChooser train({.side = RowSelection::Side::train, .held_out = 0.2});
  RowChooser held_out({.side = RowSelection::Side::held_out, .held_out = 0.2});
  int held = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string question = "What is " + std::to_string(i) + " + 1?";
    const bool in_train = train.choose(question, question) == Choice::use;
    const bool in_held_out = held_out.choose(question, question) == Choice::use;
    EXPECT_NE(in_train, in_held_out) << question;
    held += in_held_out ? 1 : 0;
  }
  EXPECT_GT(held, 150);  // 200 are expected, with a deviation of 13
  EXPECT_LT(held, 250);
}

TEST(RowSelection, TheSideIsThatOfTheQuestionAndNotOfTheAnswer) {
  RowChooser chooser({.side = RowSelection::Side::train, .held_out = 0.5});
  const Choice first = chooser.choose("the question", "the question: 1");
  EXPECT_EQ(chooser.choose("the  question", "the question: 2"), first);
}

TEST(RowSelection, ReadsItsKeysAndNamesABadOne) {
  ConfigFile file = ConfigFile::parse(
      "[data]\nsplit = 'held_out'\nheld_out = 0.1\nlimit = 7\ndeduplicate = false", "c.toml");
  const RowSelection s = read_row_selection(file);
  EXPECT_EQ(s.side, RowSelection::Side::held_out);
  EXPECT_EQ(s.held_out, 0.1);
  EXPECT_EQ(s.limit, 7);
  EXPECT_FALSE(s.deduplicate);
  ConfigFile bad = ConfigFile::parse("[data]\nheld_out = 2", "c.toml");
  EXPECT_THROW(read_row_selection(bad), Error);
}

}  // namespace
}  // namespace r1::row_selection_test
