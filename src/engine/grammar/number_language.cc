#include "engine/grammar/number_language.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"

namespace r1 {
namespace {

// Explores the automaton over the characters of numbers whose states are values of `State`. `next` returns
// false if the character may not come.
template <class State>
CodeAutomaton explore_number_states(const State& start, const std::function<bool(State&, char)>& next,
                                    const std::function<bool(const State&)>& accepts) {
  CodeAutomaton out;
  std::map<State, int32_t> numbers;
  std::vector<State> states;
  const auto number_of = [&](const State& state) {
    const auto [at, is_new] = numbers.emplace(state, static_cast<int32_t>(states.size()));
    if (is_new) states.push_back(state);
    if (states.size() > 200'000) throw Error("a number's bound or divisor needs too many states");
    return at->second;
  };
  number_of(start);
  for (size_t i = 0; i < states.size(); ++i) {
    CodeAutomaton::State made;
    made.accepts = accepts(states[i]);
    for (const char c : std::string_view("-.0123456789")) {  // in the order of their codes
      State to = states[i];
      if (!next(to, c)) continue;
      const auto code = static_cast<uint32_t>(c);
      made.edges.push_back({code, code, number_of(to)});
    }
    out.states.push_back(std::move(made));
  }
  return out;
}

// The magnitude that is read: where in the text, how many digits, and whether one of them was not 0.
struct NumberShape {
  enum class Place : uint8_t { start, sign, zero, whole, point, fraction };
  Place place = Place::start;
  bool negative = false, nonzero = false;
  int whole = 0, fraction = 0;  // digits so far
  auto operator<=>(const NumberShape&) const = default;

  bool next(char c) {
    if (c == '-') return place == Place::start && (place = Place::sign, negative = true);
    if (c == '.') return (place == Place::zero || place == Place::whole) && (place = Place::point, true);
    nonzero = nonzero || c != '0';
    switch (place) {
      case Place::start:
      case Place::sign:
        place = c == '0' ? Place::zero : Place::whole;
        whole = c == '0' ? 0 : 1;
        return true;
      case Place::zero:
        return false;
      case Place::whole:
        return ++whole <= kNumberDigits;
      case Place::point:
      case Place::fraction:
        place = Place::fraction;
        return ++fraction <= kNumberDigits;
    }
    return false;
  }
  bool ends() const {
    return (place == Place::zero || place == Place::whole || place == Place::fraction) &&
           (nonzero || !negative);
  }
};

// How a magnitude compares with the digits of another one, digit by digit.
struct Comparison {
  NumberShape shape;
  int order = 0;  // of the digits so far: -1, 0, 1
  auto operator<=>(const Comparison&) const = default;
};

}  // namespace

Decimal read_decimal(std::string_view literal) {
  Decimal value;
  size_t at = 0;
  if (literal.starts_with('-')) value.negative = true, at = 1;
  bool behind = false;
  int64_t exponent = 0;
  for (; at < literal.size(); ++at) {
    const char c = literal[at];
    if (c == '.') {
      behind = true;
    } else if (c == 'e' || c == 'E') {
      const bool minus = literal.substr(at + 1).starts_with('-');
      for (const char d : literal.substr(at + 1)) {
        if (d < '0' || d > '9') continue;
        exponent = exponent * 10 + (d - '0');
        if (exponent > 400) throw Error(fmt::format("the number {} has an exponent beyond 400", literal));
      }
      if (minus) exponent = -exponent;
      break;
    } else {
      value.digits += c;
      if (!behind) ++value.point;
    }
  }
  value.point += exponent;
  const size_t zeros = std::min(value.digits.find_first_not_of('0'), value.digits.size());
  value.digits.erase(0, zeros);
  value.point -= static_cast<int64_t>(zeros);
  while (value.digits.ends_with('0')) value.digits.pop_back();
  if (value.digits.empty()) return {};
  return value;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.is_zero() && b.is_zero()) return 0;
  if (a.is_zero()) return b.negative ? 1 : -1;
  if (b.is_zero()) return a.negative ? -1 : 1;
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int magnitude = a.point != b.point    ? (a.point < b.point ? -1 : 1)
                        : a.digits < b.digits ? -1
                        : a.digits > b.digits ? 1
                                              : 0;
  return a.negative ? -magnitude : magnitude;
}

CodeAutomaton all_numbers() {
  return explore_number_states<NumberShape>(
      {}, [](NumberShape& s, char c) { return s.next(c); }, [](const NumberShape& s) { return s.ends(); });
}

CodeAutomaton integers() {
  return explore_number_states<NumberShape>(
      {}, [](NumberShape& s, char c) { return c != '.' && s.next(c); },
      [](const NumberShape& s) { return s.ends(); });
}

CodeAutomaton integral_numbers() {
  return explore_number_states<NumberShape>(
      {},
      [](NumberShape& s, char c) {
        const bool behind = s.place == NumberShape::Place::point || s.place == NumberShape::Place::fraction;
        return !(behind && c != '0') && s.next(c);
      },
      [](const NumberShape& s) { return s.ends(); });
}

// Reads the magnitude's whole digits as if they were right-aligned: the order of two whole parts of the same
// length is that of their first different digit, and a longer one is larger.
static CodeAutomaton ordered(const Decimal& value, const std::function<bool(int order)>& wanted) {
  // The whole part and the fraction of the bound's magnitude.
  std::string whole, fraction;
  for (int64_t i = 0; i < static_cast<int64_t>(value.digits.size()) || i < value.point; ++i) {
    const char d = i < static_cast<int64_t>(value.digits.size()) ? value.digits[static_cast<size_t>(i)] : '0';
    (i < value.point ? whole : fraction) += d;
  }
  if (value.point < 0) fraction.insert(0, static_cast<size_t>(-value.point), '0');
  const auto size = static_cast<int>(whole.size());
  const auto next = [&](Comparison& c, char digit) {
    const NumberShape before = c.shape;
    if (!c.shape.next(digit)) return false;
    if (digit == '-') return true;
    if (digit == '.') {
      // The number of whole digits decides first.
      if (before.whole != size) c.order = before.whole < size ? -1 : 1;
      c.shape.whole = 0;  // no longer matters
      return true;
    }
    if (c.shape.place == NumberShape::Place::fraction) {
      const auto at = static_cast<size_t>(c.shape.fraction) - 1;
      const char own = at < fraction.size() ? fraction[at] : '0';
      if (c.order == 0 && digit != own) c.order = digit < own ? -1 : 1;
    } else if (c.shape.place == NumberShape::Place::whole) {
      const auto at = static_cast<size_t>(c.shape.whole) - 1;
      if (c.order == 0 && at < whole.size() && digit != whole[at]) c.order = digit < whole[at] ? -1 : 1;
    }
    return true;
  };
  const auto accepts = [&](const Comparison& c) {
    if (!c.shape.ends()) return false;
    int order = c.order;
    if (c.shape.place != NumberShape::Place::fraction && c.shape.whole != size)
      order = c.shape.whole < size ? -1 : 1;
    // Digits of the fraction that the text has not written are 0.
    const auto read = static_cast<size_t>(c.shape.fraction);
    if (order == 0 && fraction.size() > read && fraction.find_first_not_of('0', read) != std::string::npos)
      order = -1;
    if (!c.shape.nonzero) return wanted(value.is_zero() ? 0 : value.negative ? 1 : -1);
    if (value.is_zero() || c.shape.negative != value.negative) return wanted(c.shape.negative ? -1 : 1);
    return wanted(value.negative ? -order : order);
  };
  return explore_number_states<Comparison>({}, next, accepts);
}

CodeAutomaton equal_to(const Decimal& value) {
  return intersection_of(ordered(value, [](int order) { return order == 0; }), any_text());
}

CodeAutomaton numbers_bounded(Bound bound, const Decimal& value) {
  const CodeAutomaton found = ordered(value, [&](int order) {
    switch (bound) {
      case Bound::at_least:
        return order >= 0;
      case Bound::above:
        return order > 0;
      case Bound::at_most:
        return order <= 0;
      case Bound::below:
        return order < 0;
    }
    return false;
  });
  return intersection_of(found, any_text());
}

CodeAutomaton multiples_of(const Decimal& divisor) {
  // divisor = p / 10^k. A number with k digits behind the point is a multiple if its digits are one of p;
  // further digits must be 0.
  if (divisor.is_zero() || divisor.negative) throw Error("multipleOf must be above 0");
  const int64_t places = std::max<int64_t>(0, static_cast<int64_t>(divisor.digits.size()) - divisor.point);
  std::string digits = divisor.digits;
  if (divisor.is_integer())
    digits.append(static_cast<size_t>(divisor.point - static_cast<int64_t>(divisor.digits.size())), '0');
  int64_t p = 0;
  for (const char d : digits) {
    p = p * 10 + (d - '0');
    if (p > 10'000) throw Error("multipleOf has too many digits to be checked while a number is written");
  }
  if (places > kNumberDigits)
    throw Error("multipleOf has too many digits to be checked while a number is written");
  struct State {
    NumberShape shape;
    int64_t rest = 0;
    auto operator<=>(const State&) const = default;
  };
  const CodeAutomaton found = explore_number_states<State>(
      {},
      [&](State& s, char c) {
        if (!s.shape.next(c)) return false;
        if (c == '-' || c == '.') return true;
        if (s.shape.fraction > places) return c == '0';
        s.rest = (s.rest * 10 + (c - '0')) % p;
        // The number of digits matters only through the bound on it.
        return true;
      },
      [&](const State& s) {
        if (!s.shape.ends()) return false;
        int64_t rest = s.rest;
        for (int64_t i = s.shape.fraction; i < places; ++i) rest = rest * 10 % p;
        return rest == 0;
      });
  return intersection_of(found, any_text());
}

}  // namespace r1
