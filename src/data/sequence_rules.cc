#include "data/sequence_rules.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"

namespace r1 {
namespace {

using Terms = std::vector<Rational>;

std::optional<Rational> arithmetic(const Terms& t) {
  std::optional<Rational> step;
  for (size_t i = 1; i < t.size(); ++i) {
    const auto difference = apply_operator('-', t[i], t[i - 1]);
    if (!difference || (step && !(*step == *difference))) return std::nullopt;
    step = difference;
  }
  R1_CHECK(step.has_value(), "one term decides nothing");
  return apply_operator('+', t.back(), *step);
}

std::optional<Rational> geometric(const Terms& t) {
  std::optional<Rational> ratio;
  for (size_t i = 0; i < t.size(); ++i) {
    if (t[i].num == 0) return std::nullopt;
    if (i == 0) continue;
    const auto quotient = apply_operator('/', t[i], t[i - 1]);
    if (!quotient || (ratio && !(*ratio == *quotient))) return std::nullopt;
    ratio = quotient;
  }
  R1_CHECK(ratio.has_value(), "one term decides nothing");
  return apply_operator('*', t.back(), *ratio);
}

std::optional<Rational> quadratic(const Terms& t) {
  Terms differences;
  for (size_t i = 1; i < t.size(); ++i) {
    const auto difference = apply_operator('-', t[i], t[i - 1]);
    if (!difference) return std::nullopt;
    differences.push_back(*difference);
  }
  const auto next = arithmetic(differences);
  return next ? apply_operator('+', t.back(), *next) : std::nullopt;
}

std::optional<Rational> fibonacci(const Terms& t) {
  for (size_t i = 2; i < t.size(); ++i) {
    const auto sum = apply_operator('+', t[i - 2], t[i - 1]);
    if (!sum || !(*sum == t[i])) return std::nullopt;
  }
  return apply_operator('+', t[t.size() - 2], t.back());
}

void add(std::vector<Rational>& to, const std::optional<Rational>& value) {
  if (value && std::ranges::find(to, *value) == to.end()) to.push_back(*value);
}

std::vector<Rational> simple(const Terms& t) {
  std::vector<Rational> out;
  add(out, arithmetic(t));
  add(out, geometric(t));
  return out;
}

std::vector<Rational> interleaved(const Terms& t) {
  std::array<Terms, 2> parts;
  for (size_t i = 0; i < t.size(); ++i) parts[i % 2].push_back(t[i]);
  const size_t next = t.size() % 2;
  return simple(parts[1 - next]).empty() ? Terms() : simple(parts[next]);
}

}  // namespace

std::vector<Rational> next_terms(SequenceRule rule, std::span<const int64_t> terms) {
  R1_CHECK(terms.size() >= 4, terms.size(), " terms");  // so that every part of every rule has two
  Terms t;
  for (const int64_t term : terms) {
    R1_CHECK(term != std::numeric_limits<int64_t>::min(), term);
    t.push_back({term, 1});
  }
  std::vector<Rational> out;
  switch (rule) {
    case SequenceRule::arithmetic:
      add(out, arithmetic(t));
      break;
    case SequenceRule::geometric:
      add(out, geometric(t));
      break;
    case SequenceRule::quadratic:
      add(out, quadratic(t));
      break;
    case SequenceRule::fibonacci:
      add(out, fibonacci(t));
      break;
    case SequenceRule::interleaved:
      return interleaved(t);
  }
  return out;
}

std::optional<Rational> decided_next_term(std::span<const int64_t> terms) {
  std::vector<Rational> all;
  for (const SequenceRule rule : {SequenceRule::arithmetic, SequenceRule::geometric, SequenceRule::quadratic,
                                  SequenceRule::fibonacci, SequenceRule::interleaved}) {
    for (const Rational& next : next_terms(rule, terms)) add(all, next);
  }
  return all.size() == 1 ? std::optional(all[0]) : std::nullopt;
}

}  // namespace r1
