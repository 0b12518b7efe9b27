#include "reward/math/compare.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "reward/math/evaluate.h"
#include "reward/math/matrix.h"
#include "reward/math/units.h"

namespace r1::math {
namespace {

using Kind = Node::Kind;

bool is_one_of(Kind kind, std::initializer_list<Kind> kinds) {
  return std::ranges::find(kinds, kind) != kinds.end();
}

// Returns adjacent letters as a word, because "odd" is parsed as the product o d d.
std::string text_of(const Node& node) {
  std::string out;
  if (is_one_of(node.kind, {Kind::text, Kind::symbol})) {
    out = node.name;
  } else if (node.kind == Kind::multiply) {
    for (const Node& kid : node.kids) {
      if (kid.kind != Kind::symbol) return "";
      out += kid.name;
    }
  }
  return out.empty() || node.unit.empty() ? out : out + " " + node.unit;
}

// Returns true if the node may be the left side of "name = value": x, f(x), AB, (p, q), a word.
bool is_name(const Node& node) {
  switch (node.kind) {
    case Kind::symbol:
    case Kind::text:
      return true;
    case Kind::multiply:
      return node.kids[0].kind == Kind::symbol &&
             (node.kids.size() == 2 ||
              std::ranges::all_of(node.kids, [](const Node& k) { return k.kind == Kind::symbol; }));
    case Kind::divide:
    case Kind::ratio:
    case Kind::tuple:
    case Kind::list:
      return std::ranges::all_of(node.kids, is_name);
    case Kind::absolute:
      return is_name(node.kids[0]);
    default:
      return false;
  }
}

bool is_assignment(const Node& node) {
  return node.kind == Kind::relation && node.name.find_first_not_of("=~i") == std::string::npos &&
         is_name(node.kids[0]);
}

bool has_variable(const Node& node) {
  if (node.kind == Kind::symbol) return node.name != "π" && node.name != "e" && node.name != "i";
  return node.kind == Kind::text || std::ranges::any_of(node.kids, has_variable);
}

// Returns true for a value that is written more than once: 2/3 ~ 0.67, 3 * 4 = 12.
bool is_value_chain(const Node& node) {
  return node.kind == Kind::relation && node.name.find_first_not_of("=~") == std::string::npos &&
         !has_variable(node);
}

// Returns the value of an assignment: its right side; for a chain x = a = b ~ c, b; for a ~ b without a name,
// a.
const Node& assigned(const Node& relation) {
  const size_t about = relation.name.find('~');
  if (about == 0 && !is_name(relation.kids[0])) return relation.kids[0];
  if (about == std::string::npos || about == 0) return relation.kids.back();
  return relation.kids[about];
}

bool has_plus_minus(const Node& node) {
  return node.kind == Kind::plus_minus || std::ranges::any_of(node.kids, has_plus_minus);
}

Node with_sign(const Node& node, bool plus) {
  Node out = node;
  for (Node& kid : out.kids) kid = with_sign(kid, plus);
  if (out.kind != Kind::plus_minus) return out;
  out.kind = Kind::add;
  if (!plus) {
    Node negated;
    negated.kind = Kind::negate;
    negated.kids.push_back(std::move(out.kids[1]));
    out.kids[1] = std::move(negated);
  }
  return out;
}

Node infinity(bool negative) {
  Node out;
  out.kind = Kind::infinity;
  if (!negative) return out;
  Node minus;
  minus.kind = Kind::negate;
  minus.kids.push_back(std::move(out));
  return minus;
}

// Returns the interval that an inequality in one name describes: x < 5, 5 >= x, 0 < f(x) <= 1.
std::optional<Node> interval_of(const Node& relation) {
  if (relation.kind != Kind::relation || relation.kids.size() > 3) return std::nullopt;
  Node out;
  out.kind = Kind::tuple;
  const auto less = [](char op) { return op == '<' || op == 'L'; };
  const auto greater = [](char op) { return op == '>' || op == 'G'; };
  const auto closed = [](char op) { return op == 'L' || op == 'G'; };
  const std::string& ops = relation.name;
  if (!std::ranges::all_of(ops,
                           [&](char op) { return less(op) == less(ops[0]) && (less(op) || greater(op)); }))
    return std::nullopt;
  if (relation.kids.size() == 3) {
    if (!is_name(relation.kids[1])) return std::nullopt;
    const bool up = less(ops[0]);
    const char low = up ? ops[0] : ops[1], high = up ? ops[1] : ops[0];
    out.name = {closed(low) ? '[' : '(', closed(high) ? ']' : ')'};
    out.kids = {relation.kids[up ? 0 : 2], relation.kids[up ? 2 : 0]};
    return out;
  }
  const bool name_first = is_name(relation.kids[0]);
  if (!name_first && !is_name(relation.kids[1])) return std::nullopt;
  const bool below = less(ops[0]) == name_first;
  const Node& bound = relation.kids[name_first ? 1 : 0];
  const char open = closed(ops[0]) ? '[' : '(', close = closed(ops[0]) ? ']' : ')';
  out.name = below ? std::string{'(', close} : std::string{open, ')'};
  out.kids = below ? std::vector{infinity(true), bound} : std::vector{bound, infinity(false)};
  return out;
}

class Comparison {
 public:
  explicit Comparison(const CompareOptions& options) : options_(options) {}

  std::string_view why() const { return why_; }

  bool same(const Node& gold, const Node& answer) {
    if (++calls_ > 4096) return say("too_complex");
    if (gold.kind == Kind::relation || answer.kind == Kind::relation) return same_relation(gold, answer);
    const bool words =
        !gold.unit.empty() && !answer.unit.empty() && !text_of(gold).empty() && !text_of(answer).empty();
    if (words || gold.kind == Kind::text || answer.kind == Kind::text) return same_text(gold, answer);
    if (has_plus_minus(gold) || has_plus_minus(answer) || is_collection(gold) || is_collection(answer))
      return same_collection(gold, answer);
    if (gold.kind == Kind::tuple || answer.kind == Kind::tuple) return same_tuple(gold, answer);
    if (gold.kind == Kind::ratio || answer.kind == Kind::ratio) return same_ratio(gold, answer);
    if (has_matrix(gold) || has_matrix(answer)) return same_matrix(gold, answer);
    if (is_other_base(gold) || is_other_base(answer)) return same_base(gold, answer);
    if (gold.kind == Kind::empty_set || answer.kind == Kind::empty_set)
      return gold.kind == answer.kind || say("wrong_kind");
    if (is_infinite(gold) || is_infinite(answer)) {
      return (is_infinite(gold) && is_infinite(answer) && gold.kind == answer.kind) || say("wrong_value");
    }
    return same_scalar(gold, answer);
  }

 private:
  bool say(std::string_view why) {
    if (why_.empty() || why_ == "wrong_value") why_ = why;
    return false;
  }

  static bool is_collection(const Node& node) {
    return is_one_of(node.kind, {Kind::list, Kind::set, Kind::unite});
  }
  static bool is_infinite(const Node& node) {
    return node.kind == Kind::infinity || (node.kind == Kind::negate && node.kids[0].kind == Kind::infinity);
  }
  static bool is_other_base(const Node& node) {
    return node.kind == Kind::base_number && node.number != Fraction(10);
  }

  bool same_text(const Node& gold, const Node& answer) {
    const std::string a = text_of(gold), b = text_of(answer);
    if (a.empty() || b.empty()) return say("wrong_kind");
    return words_of(a) == words_of(b) || say("wrong_value");
  }

  // Appends the elements of a collection. In a list or set, a pm b gives two elements.
  static void collect(const Node& node, Kind kind, std::vector<Node>& out) {
    if (node.kind == kind || (kind == Kind::list && node.kind == Kind::set)) {
      for (const Node& kid : node.kids) collect(kid, kind, out);
    } else if (has_plus_minus(node) && kind == Kind::list) {
      out.push_back(with_sign(node, true));
      out.push_back(with_sign(node, false));
    } else {
      out.push_back(node);
    }
  }

  bool same_collection(const Node& gold, const Node& answer) {
    if (gold.kind == Kind::unite || answer.kind == Kind::unite) return same_union(gold, answer);
    // The list 1, 3 may stand for the tuple (1, 3), in the same order.
    if (gold.kind == Kind::tuple || answer.kind == Kind::tuple) {
      const Node& tuple = gold.kind == Kind::tuple ? gold : answer;
      const Node& other = gold.kind == Kind::tuple ? answer : gold;
      if (other.kind != Kind::list || tuple.name != "()") return say("wrong_kind");
      return same_in_order(gold.kids, answer.kids);
    }
    std::vector<Node> a, b;
    collect(gold, Kind::list, a);
    collect(answer, Kind::list, b);
    const auto all = [](const std::vector<Node>& nodes, const auto& is) {
      return std::ranges::all_of(nodes, is);
    };
    const bool gold_names = all(a, is_assignment), answer_names = all(b, is_assignment);
    // x = 1 or x = 2 gives the values of one name, in any order.
    if (gold_names != answer_names) strip_one_name(gold_names ? a : b);
    if (all(a, is_assignment) != all(b, is_assignment) && a.size() + b.size() > 2) {
      // Values without their names are compared in order. p = 5, q = 2 may also be the tuple (5, 2).
      return same_in_order(values_of(a), values_of(b));
    }
    if (gold.kind != Kind::set && answer.kind != Kind::set && a.size() == 1 && b.size() == 1)
      return same(a[0], b[0]);
    return same_in_any_order(a, b);
  }

  void strip_one_name(std::vector<Node>& nodes) {
    for (const Node& node : nodes) {
      if (!same_name(node.kids[0], nodes[0].kids[0])) return;
    }
    for (Node& node : nodes) {
      Node value = assigned(node);
      node = std::move(value);
    }
  }

  static std::vector<Node> values_of(const std::vector<Node>& nodes) {
    std::vector<Node> out;
    for (const Node& node : nodes) {
      const Node& value = is_assignment(node) ? assigned(node) : node;
      if (value.kind == Kind::tuple && value.name == "()")
        out.insert(out.end(), value.kids.begin(), value.kids.end());
      else
        out.push_back(value);
    }
    return out;
  }

  bool same_in_order(const std::vector<Node>& a, const std::vector<Node>& b) {
    if (a.size() != b.size()) return say("wrong_value");
    for (size_t i = 0; i < a.size(); ++i) {
      if (!same(a[i], b[i])) return false;
    }
    return true;
  }

  // Equality is transitive, so the first match serves as well as any other.
  bool same_in_any_order(const std::vector<Node>& a, const std::vector<Node>& b) {
    if ((a.size() == 1) != (b.size() == 1)) return say("wrong_kind");
    const auto covered = [&](const std::vector<Node>& from, const std::vector<Node>& by, bool swap) {
      return std::ranges::all_of(from, [&](const Node& x) {
        return std::ranges::any_of(by, [&](const Node& y) { return swap ? same(y, x) : same(x, y); });
      });
    };
    // The answer may repeat an element. If the gold repeats one, the answer must have it equally often.
    const auto times = [&](const std::vector<Node>& in, const Node& x) {
      return std::ranges::count_if(in, [&](const Node& y) { return same(x, y); });
    };
    for (const Node& x : a) {
      const auto n = times(a, x);
      if (n > 1 && times(b, x) != n) return say("wrong_value");
    }
    return (covered(a, b, false) && covered(b, a, true)) || say("wrong_value");
  }

  bool same_union(const Node& gold, const Node& answer) {
    const auto parts = [](const Node& node) {
      std::vector<Node> out;
      if (node.kind == Kind::list) {  // x < 1 or x > 3
        for (const Node& kid : node.kids) {
          const auto interval = interval_of(kid);
          out.push_back(interval ? *interval : kid);
        }
      } else {
        collect(node, Kind::unite, out);
      }
      return out;
    };
    return same_in_any_order(parts(gold), parts(answer));
  }

  bool same_tuple(const Node& gold, const Node& answer) {
    if (gold.kind != answer.kind) return say("wrong_kind");
    if (gold.name != answer.name) return say("wrong_value");
    return same_in_order(gold.kids, answer.kids);
  }

  bool same_ratio(const Node& gold, const Node& answer) {
    if (gold.kind != answer.kind) return say("wrong_kind");
    if (gold.kids.size() != answer.kids.size()) return say("wrong_value");
    // A ratio with a unit is a time of day: 4:30 p.m. is not 2:15.
    const std::string a_unit = words_of(gold.kids.back().unit), b_unit = words_of(answer.kids.back().unit);
    if (!a_unit.empty() || !b_unit.empty()) {
      if (!a_unit.empty() && !b_unit.empty() && a_unit != b_unit) return say("wrong_unit");
      return same_in_order(gold.kids, answer.kids);
    }
    const Ratio a0 = evaluate(algebra_, gold.kids[0]), b0 = evaluate(algebra_, answer.kids[0]);
    // A ratio with a zero is compared part by part: 5:00 is not 9:00, although 0 is a multiple of 0.
    const auto has_zero = [&](const Node& node) {
      return std::ranges::any_of(node.kids,
                                 [&](const Node& kid) { return evaluate(algebra_, kid).num.is_zero(); });
    };
    if (has_zero(gold) || has_zero(answer)) return same_in_order(gold.kids, answer.kids);
    for (size_t i = 1; i < gold.kids.size(); ++i) {
      const Ratio left = algebra_.multiply(evaluate(algebra_, gold.kids[i]), b0);
      const Ratio right = algebra_.multiply(evaluate(algebra_, answer.kids[i]), a0);
      if (!algebra_.equal(left, right)) return say("wrong_value");
    }
    return true;
  }

  bool same_matrix(const Node& gold, const Node& answer) {
    const auto a = matrix_value(gold), b = matrix_value(answer);
    if (!a || !b) return say("wrong_kind");
    if (a->name != b->name) return say("wrong_value");
    return same_in_order(a->kids, b->kids);
  }

  bool same_base(const Node& gold, const Node& answer) {
    if (gold.kind != answer.kind) return say("wrong_kind");
    const auto digits = [](std::string_view text) {
      return text.substr(std::min(text.find_first_not_of('0'), text.size()));
    };
    return (gold.number == answer.number && digits(gold.name) == digits(answer.name)) || say("wrong_value");
  }

  bool same_relation(const Node& gold, const Node& answer) {
    if (gold.kind != answer.kind) {
      const Node& relation = gold.kind == Kind::relation ? gold : answer;
      const Node& other = gold.kind == Kind::relation ? answer : gold;
      const auto with = [&](const Node& value) {
        return &relation == &gold ? same(value, other) : same(other, value);
      };
      if (is_assignment(relation)) return with(assigned(relation));
      if (is_value_chain(relation)) return agrees_with_itself(relation) && with(assigned(relation));
      if (is_one_of(other.kind, {Kind::tuple, Kind::unite})) {
        if (const auto interval = interval_of(relation)) return with(*interval);
      }
      return say("wrong_kind");
    }
    if (is_value_chain(gold) && is_value_chain(answer)) {
      if (gold.name == answer.name && same_in_order(gold.kids, answer.kids)) return true;
      return agrees_with_itself(answer) && same(assigned(gold), assigned(answer));
    }
    if (is_assignment(gold) && is_assignment(answer)) {
      if (same_name(gold.kids[0], answer.kids[0])) return same(assigned(gold), assigned(answer));
      if (gold.kids.size() != 2 || answer.kids.size() != 2) return say("wrong_value");
    }
    return same_sides(gold, answer);
  }

  // Returns true for 0.56 = 56% and false for 2.56 = 56%. An approximation (~) may be off by one per cent.
  bool agrees_with_itself(const Node& chain) {
    for (size_t i = 0; i < chain.name.size(); ++i) {
      const Ratio a = evaluate(algebra_, chain.kids[i]), b = evaluate(algebra_, chain.kids[i + 1]);
      if (algebra_.equal(a, b)) continue;
      const auto x = approximate(a), y = approximate(b);
      const bool close = x && y && std::abs(*x - *y) <= 0.01 * std::max(std::abs(*x), std::abs(*y));
      if (chain.name[i] == '=' || !close) return say("wrong_value");
    }
    return true;
  }

  bool same_name(const Node& a, const Node& b) {
    if (a.kind != b.kind) return false;
    if (a.kids.empty()) return a.kind == Kind::number ? a.number == b.number : a.name == b.name;
    if (a.kids.size() != b.kids.size()) return false;
    for (size_t i = 0; i < a.kids.size(); ++i) {
      if (!same_name(a.kids[i], b.kids[i])) return false;
    }
    return true;
  }

  // Returns the relation with its operators rising: a < b <= c.
  static Node rising(Node relation) {
    if (relation.name.find_first_not_of(">G") != std::string::npos) return relation;
    std::ranges::reverse(relation.kids);
    std::ranges::reverse(relation.name);
    for (char& op : relation.name) op = op == '>' ? '<' : 'L';
    return relation;
  }

  bool same_sides(const Node& gold, const Node& answer) {
    const Node a = rising(gold), b = rising(answer);
    if (a.name != b.name) return say("wrong_value");
    // Sides without variables are compared directly, because every difference would be a multiple of any
    // other.
    if (!has_variable(a) || !has_variable(b)) return same_in_order(a.kids, b.kids);
    for (size_t i = 0; i < a.name.size(); ++i) {
      const auto difference = [&](const Node& r) {
        return algebra_.subtract(evaluate(algebra_, r.kids[i + 1]), evaluate(algebra_, r.kids[i]));
      };
      const Ratio x = difference(a), y = difference(b);
      if (x.num.is_zero() && y.num.is_zero()) continue;
      const auto factor = algebra_.factor_between(x, y);
      if (!factor || factor->is_zero()) return say("wrong_value");
      if (a.name[i] != '=' && a.name[i] != 'N' && factor->sign() < 0) return say("wrong_value");
    }
    return true;
  }

  bool equal(const Ratio& gold, const Ratio& answer) {
    if (algebra_.equal(gold, answer)) return true;
    if (options_.decimals < 0) return say("wrong_value");
    const auto a = approximate(gold), b = approximate(answer);
    if (a && b && std::abs(*a - *b) <= 0.5000001 * std::pow(10.0, -options_.decimals)) return true;
    return say("wrong_value");
  }

  bool same_scalar(const Node& gold, const Node& answer) {
    if (gold.kind == Kind::percent || answer.kind == Kind::percent) return same_percent(gold, answer);
    // 90 may stand for 90 degrees.
    if ((gold.kind == Kind::degree) != (answer.kind == Kind::degree)) {
      const Node& with = gold.kind == Kind::degree ? gold : answer;
      const Node& without = gold.kind == Kind::degree ? answer : gold;
      if (algebra_.equal(evaluate(algebra_, with.kids[0]), evaluate(algebra_, without))) return true;
    }
    Ratio a = evaluate(algebra_, gold), b = evaluate(algebra_, answer);
    if (!gold.unit.empty() && !answer.unit.empty()) {
      const auto u = read_unit(gold.unit), v = read_unit(answer.unit);
      if (u && v) {
        if (u->dimension != v->dimension) return say("wrong_unit");
        a = algebra_.multiply(a, Ratio{Poly(u->scale), Fraction(1)});
        b = algebra_.multiply(b, Ratio{Poly(v->scale), Fraction(1)});
        return algebra_.equal(a, b) || say(u->scale == v->scale ? "wrong_value" : "wrong_unit");
      }
      // An unknown power such as cm^8 must not pass for the gold's cm^2.
      const bool powers = (gold.unit + answer.unit).find('^') != std::string::npos;
      if (powers && gold.unit != answer.unit) return say("wrong_unit");
    }
    return equal(a, b);
  }

  bool same_percent(const Node& gold, const Node& answer) {
    const Ratio a = evaluate(algebra_, gold), b = evaluate(algebra_, answer);
    if (algebra_.equal(a, b)) return true;
    const auto plain = constant_of(a);
    const bool added = options_.percent_is_a_unit && plain && (*plain > Fraction(1) || *plain < Fraction(-1));
    if (gold.kind == answer.kind || (gold.kind != Kind::percent && !added)) return equal(a, b);
    const Ratio hundred{Fraction(100), Fraction(1)};
    return gold.kind == Kind::percent ? equal(algebra_.multiply(a, hundred), b)
                                      : equal(a, algebra_.multiply(b, hundred));
  }

  CompareOptions options_;
  Algebra algebra_{30'000};
  int calls_ = 0;
  std::string_view why_;
};

}  // namespace

std::string words_of(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_letter(c) || is_digit(c) || static_cast<unsigned char>(c) >= 0x80)
      out += to_lower(c);
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  while (out.ends_with(' ')) out.pop_back();
  for (const std::string_view article : {"the ", "a ", "an "}) {
    if (out.starts_with(article)) out.erase(0, article.size());
  }
  return out;
}

std::string_view compare(const Node& gold, const Node& answer, const CompareOptions& options) {
  Comparison comparison(options);
  try {
    if (comparison.same(gold, answer)) return "ok";
  } catch (const NotEvaluated& refusal) {
    return refusal.why;
  }
  return comparison.why().empty() ? "wrong_value" : comparison.why();
}

}  // namespace r1::math
