// data/countdown_solver.cc: exhaustive search by subsets. The trees over a subset of the numbers are every
// way to cut it in two, every tree over each part, and the six ways to join two values. Each unordered tree
// is built exactly once. Trees over n numbers:
//   n   trees
//   1         1
//   2         6
//   3       108 = 3*6*6
//   4     3,240 = 4*108*6 + 3*6*6*6
//   5   136,080
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "data/countdown.h"
#include "data/expression_tree.h"
#include "data/rational.h"

namespace r1 {
namespace {

struct Entry {
  Rational value;
  char op = 0;
  uint32_t left_set = 0, left = 0;  // where the operands are: subset, and index among its entries
  uint32_t right_set = 0, right = 0;
};

struct RationalHash {
  size_t operator()(const Rational& r) const {
    return static_cast<size_t>(static_cast<uint64_t>(r.num) * 0x9E3779B97F4A7C15u ^
                               static_cast<uint64_t>(r.den) * 0xC2B2AE3D27D4EB4Fu);
  }
};

// By induction a tree's numerator and denominator are at most 2^(joins) times the product of its numbers, so
// this bound makes every step below exact.
void check_numbers(std::span<const int> numbers, size_t most) {
  if (numbers.empty() || numbers.size() > most) {
    throw Error(fmt::format("countdown: cannot search {} numbers: give 1 to {}", numbers.size(), most));
  }
  int64_t bound = std::numeric_limits<int64_t>::max() >> (numbers.size() - 1);
  for (const int number : numbers) {
    if (number < 0) throw Error(fmt::format("countdown: cannot search with the negative number {}", number));
    bound /= std::max(number, 1);
  }
  if (bound == 0)
    throw Error("countdown: these numbers are too large to search exactly: their product passes 2^63");
}

class Search {
 public:
  // With `distinct`, a subset keeps one tree per value: enough to find a solution, but not to count them.
  Search(std::span<const int> numbers, Rational target, bool distinct)
      : numbers_(numbers), target_(target), distinct_(distinct), entries_(size_t{1} << numbers.size()) {
    for (size_t i = 0; i < numbers.size(); ++i) {
      entries_[size_t{1} << i].push_back({.value = {.num = numbers[i], .den = 1}});
    }
  }

  // Calls found(tree) for every tree over all numbers that equals the target, until it returns false.
  template <class Found>
  void run(const Found& found) {
    const auto all = static_cast<uint32_t>(entries_.size() - 1);
    for (uint32_t set = 1; set < all; ++set) {
      std::unordered_set<Rational, RationalHash> seen;
      join_all(set, [&](const Entry& entry) {
        if (!distinct_ || seen.insert(entry.value).second) entries_[set].push_back(entry);
        return true;
      });
    }
    const auto offer = [&](const Entry& entry) { return !(entry.value == target_) || found(tree_of(entry)); };
    if (numbers_.size() == 1) {
      offer(entries_[all].front());
    } else {
      join_all(all, offer);
    }
  }

 private:
  template <class Visit>
  void join_all(uint32_t set, const Visit& visit) {
    for (uint32_t a = (set - 1) & set; a != 0; a = (a - 1) & set) {
      const uint32_t b = set ^ a;
      if (a < b) continue;  // each cut once
      for (uint32_t i = 0; i < entries_[a].size(); ++i) {
        for (uint32_t j = 0; j < entries_[b].size(); ++j) {
          for (const char op : {'+', '*', '-', '/'}) {
            if (!join(op, a, i, b, j, visit)) return;
            if ((op == '-' || op == '/') && !join(op, b, j, a, i, visit)) return;
          }
        }
      }
    }
  }

  template <class Visit>
  bool join(char op, uint32_t a, uint32_t i, uint32_t b, uint32_t j, const Visit& visit) {
    const Rational& x = entries_[a][i].value;
    const Rational& y = entries_[b][j].value;
    if (op == '/' && y.num == 0) return true;
    const std::optional<Rational> value = apply_operator(op, x, y);
    R1_CHECK(value.has_value(), x.num, "/", x.den, " ", op, " ", y.num, "/", y.den);
    return visit(Entry{.value = *value, .op = op, .left_set = a, .left = i, .right_set = b, .right = j});
  }

  ExpressionTree tree_of(const Entry& root) const {
    ExpressionTree tree;
    for (const int number : numbers_) tree.add_leaf(number);
    add(root, static_cast<uint32_t>(entries_.size() - 1), tree);
    return tree;
  }

  int add(const Entry& entry, uint32_t set, ExpressionTree& tree) const {
    if (entry.op == 0) return __builtin_ctz(set);
    const int left = add(entries_[entry.left_set][entry.left], entry.left_set, tree);
    const int right = add(entries_[entry.right_set][entry.right], entry.right_set, tree);
    return tree.add_step(entry.op, left, right, 0);
  }

  std::span<const int> numbers_;
  Rational target_;
  bool distinct_;
  std::vector<std::vector<Entry>> entries_;  // by subset, bit i = numbers[i]
};

}  // namespace

std::optional<std::string> solve(std::span<const int> numbers, int64_t target) {
  check_numbers(numbers, 6);
  std::optional<std::string> answer;
  Search(numbers, {.num = target, .den = 1}, true).run([&](const ExpressionTree& tree) {
    answer = to_text(tree);
    return false;
  });
  return answer;
}

int64_t count_solutions(std::span<const int> numbers, int64_t target) {
  check_numbers(numbers, 5);
  std::unordered_set<std::string> seen;
  Search(numbers, {.num = target, .den = 1}, false).run([&](const ExpressionTree& tree) {
    seen.insert(canonical_text(tree));
    return true;
  });
  return static_cast<int64_t>(seen.size());
}

}  // namespace r1
