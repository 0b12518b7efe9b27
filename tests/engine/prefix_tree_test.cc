// Tests what the prefix tree remembers, and what it forgets first.
#include "engine/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/random.h"

namespace r1::prefix_tree_test {
namespace {

const PrefixKey kKey{.weights = 1, .numerics = "cpu-f32", .owner = ""};

// `pages` full pages; those with the same `kind` begin alike.
std::vector<int32_t> text(std::initializer_list<int32_t> kinds) {
  std::vector<int32_t> tokens;
  for (const int32_t kind : kinds) {
    for (int32_t i = 0; i < kKeyTile; ++i) tokens.push_back(100 * kind + i);
  }
  return tokens;
}

// Pins what is known of `tokens`, adds the rest with pages from `next` on, and returns the end.
PrefixTree::Node* add(PrefixTree& tree, const PrefixKey& key, const std::vector<int32_t>& tokens,
                      int32_t next) {
  const int64_t pages = std::ssize(tokens) / kKeyTile;
  PrefixTree::Node* node = tree.pin(key, tokens, pages);
  for (int64_t i = node->depth(); i < pages; ++i)
    node = tree.extend(node, std::span(tokens).subspan(static_cast<size_t>(i * kKeyTile), kKeyTile), next++);
  return node;
}

TEST(PrefixTree, FindsTheLongestKnownPrefixOfFullPages) {
  PrefixTree tree;
  PrefixTree::Node* end = add(tree, kKey, text({1, 2, 3}), 10);
  EXPECT_EQ(end->depth(), 3);
  EXPECT_EQ(end->page(), 12);
  tree.unpin(end);
  std::vector<int32_t> question = text({1, 2, 9});
  PrefixTree::Node* found = tree.pin(kKey, question, 3);
  EXPECT_EQ(found->depth(), 2);
  EXPECT_EQ(found->page(), 11);
  EXPECT_EQ(found->parent()->page(), 10);
  tree.unpin(found);
  found = tree.pin(kKey, text({1, 2, 3}), 1);
  EXPECT_EQ(found->depth(), 1) << "no more pages than asked for";
  tree.unpin(found);
  question = text({1});
  question.pop_back();
  found = tree.pin(kKey, question, 1);
  EXPECT_EQ(found->depth(), 0) << "the page is not full";
  tree.unpin(found);
  EXPECT_EQ(tree.pages(), 3);
}

TEST(PrefixTree, SharesNothingBetweenWeightsNumericsAndOwners) {
  PrefixTree tree;
  tree.unpin(add(tree, kKey, text({1, 2}), 0));
  for (const PrefixKey& other : {PrefixKey{.weights = 2, .numerics = "cpu-f32", .owner = ""},
                                 PrefixKey{.weights = 1, .numerics = "cpu-bf16", .owner = ""},
                                 PrefixKey{.weights = 1, .numerics = "cpu-f32", .owner = "anna"}}) {
    PrefixTree::Node* found = tree.pin(other, text({1, 2}), 2);
    EXPECT_EQ(found->depth(), 0);
    tree.unpin(found);
  }
}

TEST(PrefixTree, KeepsTheFirstOfTwoEqualPages) {
  PrefixTree tree;
  PrefixTree::Node* one = tree.pin(kKey, text({1}), 1);
  PrefixTree::Node* two = tree.pin(kKey, text({1}), 1);
  one = tree.extend(one, text({1}), 4);
  two = tree.extend(two, text({1}), 5);
  EXPECT_EQ(one, two);
  EXPECT_EQ(two->page(), 4);
  tree.unpin(one);
  EXPECT_EQ(tree.evictable(), 0) << "the second still uses it";
  tree.unpin(two);
  EXPECT_EQ(tree.evictable(), 1);
}

TEST(PrefixTree, ForgetsTheLeastRecentlyUsedLeafFirstAndNothingThatIsPinned) {
  PrefixTree tree;
  tree.unpin(add(tree, kKey, text({1, 2}), 10));
  tree.unpin(add(tree, kKey, text({1, 3}), 20));  // page 10 and page 20
  PrefixTree::Node* pinned = add(tree, kKey, text({4}), 30);
  tree.unpin(tree.pin(kKey, text({1, 2}), 2));  // used again
  EXPECT_EQ(tree.pages(), 4);
  EXPECT_EQ(tree.evictable(), 3);
  EXPECT_EQ(tree.evict(), 20);
  EXPECT_EQ(tree.evict(), 11);
  EXPECT_EQ(tree.evict(), 10) << "a parent goes after its children";
  EXPECT_EQ(tree.evict(), std::nullopt) << "page 30 is in use";
  tree.unpin(pinned);
  EXPECT_EQ(tree.evict(), 30);
  EXPECT_EQ(tree.pages(), 0);
}

// Against a map from whole prefixes to pages.
TEST(PrefixTree, AgreesWithAPlainMap) {
  Random random(7);
  PrefixTree tree;
  std::map<std::vector<int32_t>, int32_t> known;  // by the kinds on the path
  std::vector<std::pair<PrefixTree::Node*, std::vector<int32_t>>> pinned;
  int32_t page = 0;
  const auto tokens_of = [](const std::vector<int32_t>& kinds) {
    std::vector<int32_t> tokens;
    for (const int32_t kind : kinds) {
      const std::vector<int32_t> one = text({kind});
      tokens.insert(tokens.end(), one.begin(), one.end());
    }
    return tokens;
  };
  for (int step = 0; step < 4000; ++step) {
    const int64_t what = random.below(10);
    if (what < 5) {
      std::vector<int32_t> kinds;
      for (int64_t n = random.between(1, 6); n > 0; --n)
        kinds.push_back(static_cast<int32_t>(random.below(3)));
      const std::vector<int32_t> tokens = tokens_of(kinds);
      PrefixTree::Node* node = tree.pin(kKey, tokens, std::ssize(kinds));
      size_t want = 0;
      while (want < kinds.size() &&
             known.contains({kinds.begin(), kinds.begin() + static_cast<int64_t>(want) + 1}))
        ++want;
      ASSERT_EQ(node->depth(), static_cast<int64_t>(want));
      for (size_t i = want; i < kinds.size(); ++i) {
        node = tree.extend(node, std::span(tokens).subspan(i * kKeyTile, kKeyTile), page);
        known[{kinds.begin(), kinds.begin() + static_cast<int64_t>(i) + 1}] = page++;
      }
      for (const PrefixTree::Node* at = node; at->depth() > 0; at = at->parent()) {
        const std::vector<int32_t> path(kinds.begin(), kinds.begin() + at->depth());
        ASSERT_EQ(known.at(path), at->page());
      }
      pinned.emplace_back(node, kinds);
    } else if (what < 8 && !pinned.empty()) {
      const auto at = pinned.begin() + random.below(std::ssize(pinned));
      tree.unpin(at->first);
      pinned.erase(at);
    } else {
      std::set<int32_t> in_use;
      for (const auto& [node, kinds] : pinned) {
        for (const PrefixTree::Node* at = node; at->depth() > 0; at = at->parent()) in_use.insert(at->page());
      }
      ASSERT_EQ(tree.evictable(), tree.pages() - std::ssize(in_use));
      const std::optional<int32_t> gone = tree.evict();
      ASSERT_EQ(gone.has_value(), tree.pages() + (gone ? 1 : 0) > std::ssize(in_use));
      if (!gone) continue;
      ASSERT_FALSE(in_use.contains(*gone));
      const auto at = std::ranges::find_if(known, [&](const auto& entry) { return entry.second == *gone; });
      ASSERT_NE(at, known.end());
      for (const auto& [path, p] : known)
        ASSERT_FALSE(path.size() > at->first.size() &&
                     std::equal(at->first.begin(), at->first.end(), path.begin()))
            << "a page is forgotten before those that follow it";
      known.erase(at);
    }
    ASSERT_EQ(tree.pages(), std::ssize(known));
  }
  for (const auto& [node, kinds] : pinned) tree.unpin(node);
}

TEST(PrefixTree, ALongPathIsDestroyedWithoutRecursion) {
  auto tree = std::make_unique<PrefixTree>();
  PrefixTree::Node* node = tree->pin(kKey, {}, 0);
  for (int32_t i = 0; i < 300000; ++i) node = tree->extend(node, text({i % 7}), i);
  EXPECT_EQ(node->depth(), 300000);
  tree.reset();
}

}  // namespace
}  // namespace r1::prefix_tree_test
