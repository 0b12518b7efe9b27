#include "engine/grammar/regular.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "text/utf8.h"

namespace r1 {
namespace {

constexpr int32_t kNowhere = -1;

void check_regular_size(size_t states) {
  if (states > kMaxRegularStates) {
    throw Error(fmt::format("the combination of patterns, lengths and numbers needs more than {} states",
                            kMaxRegularStates));
  }
}

// Joins neighbouring edges to the same state.
void join_edges(std::vector<CodeAutomaton::Edge>& edges) {
  size_t kept = 0;
  for (const CodeAutomaton::Edge& edge : edges) {
    if (kept > 0 && edges[kept - 1].next == edge.next && edges[kept - 1].last + 1 == edge.first) {
      edges[kept - 1].last = edge.last;
    } else {
      edges[kept++] = edge;
    }
  }
  edges.resize(kept);
}

// Leaves out states from which no end can be reached; the beginning stays.
CodeAutomaton without_dead_states(const CodeAutomaton& a) {
  std::vector<std::vector<int32_t>> before(a.states.size());
  for (size_t s = 0; s < a.states.size(); ++s) {
    for (const CodeAutomaton::Edge& edge : a.states[s].edges)
      before[static_cast<size_t>(edge.next)].push_back(static_cast<int32_t>(s));
  }
  std::vector<int32_t> number(a.states.size(), kNowhere), work;
  for (size_t s = 0; s < a.states.size(); ++s) {
    if (a.states[s].accepts) number[s] = 0, work.push_back(static_cast<int32_t>(s));
  }
  while (!work.empty()) {
    const auto s = static_cast<size_t>(work.back());
    work.pop_back();
    for (const int32_t b : before[s]) {
      if (number[static_cast<size_t>(b)] == kNowhere) number[static_cast<size_t>(b)] = 0, work.push_back(b);
    }
  }
  number[0] = 0;
  int32_t count = 0;
  for (int32_t& n : number) n = n == kNowhere ? kNowhere : count++;
  CodeAutomaton kept;
  for (size_t s = 0; s < a.states.size(); ++s) {
    if (number[s] == kNowhere) continue;
    CodeAutomaton::State& state = kept.states.emplace_back();
    state.accepts = a.states[s].accepts;
    for (const CodeAutomaton::Edge& edge : a.states[s].edges) {
      const int32_t next = number[static_cast<size_t>(edge.next)];
      if (next != kNowhere) state.edges.push_back({edge.first, edge.last, next});
    }
    join_edges(state.edges);
  }
  return kept;
}

// Joins states that accept the same texts (Moore's refinement).
CodeAutomaton minimal(const CodeAutomaton& in) {
  const CodeAutomaton a = without_dead_states(in);
  std::vector<int32_t> group(a.states.size());
  for (size_t s = 0; s < a.states.size(); ++s) group[s] = a.states[s].accepts ? 1 : 0;
  size_t groups = 0;
  std::vector<CodeAutomaton::State> shapes;
  for (;;) {
    std::map<std::pair<int32_t, std::vector<std::array<uint32_t, 3>>>, int32_t> known;
    std::vector<int32_t> next(a.states.size());
    shapes.clear();
    for (size_t s = 0; s < a.states.size(); ++s) {
      CodeAutomaton::State shape{.edges = a.states[s].edges, .accepts = a.states[s].accepts};
      for (CodeAutomaton::Edge& edge : shape.edges) edge.next = group[static_cast<size_t>(edge.next)];
      join_edges(shape.edges);
      std::vector<std::array<uint32_t, 3>> key;
      for (const CodeAutomaton::Edge& edge : shape.edges)
        key.push_back({edge.first, edge.last, static_cast<uint32_t>(edge.next)});
      const auto [at, is_new] =
          known.emplace(std::pair(group[s], std::move(key)), static_cast<int32_t>(known.size()));
      if (is_new) shapes.push_back(std::move(shape));
      next[s] = at->second;
    }
    const bool done = known.size() == groups;
    groups = known.size();
    group = std::move(next);
    if (done) break;
  }
  // The last round numbered the groups as the round before it; the beginning's is 0 in both.
  return {.states = std::move(shapes)};
}

// Runs two automata side by side; kNowhere stands for the state from which nothing is accepted.
template <class Accepts>
CodeAutomaton product_of(const CodeAutomaton& a, const CodeAutomaton& b, const Accepts& accepts) {
  CodeAutomaton out;
  std::map<std::pair<int32_t, int32_t>, int32_t> numbers;
  std::vector<std::pair<int32_t, int32_t>> pairs;
  const auto number_of = [&](int32_t s, int32_t t) {
    const auto [at, is_new] = numbers.emplace(std::pair(s, t), static_cast<int32_t>(pairs.size()));
    if (is_new) {
      pairs.emplace_back(s, t);
      check_regular_size(pairs.size());
    }
    return at->second;
  };
  static const std::vector<CodeAutomaton::Edge> kNone;
  number_of(0, 0);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto [s, t] = pairs[i];
    const auto& left = s == kNowhere ? kNone : a.states[static_cast<size_t>(s)].edges;
    const auto& right = t == kNowhere ? kNone : b.states[static_cast<size_t>(t)].edges;
    CodeAutomaton::State state;
    state.accepts = accepts(s != kNowhere && a.states[static_cast<size_t>(s)].accepts,
                            t != kNowhere && b.states[static_cast<size_t>(t)].accepts);
    size_t l = 0, r = 0;
    for (uint32_t code = 0; code <= kLastCode;) {
      while (l < left.size() && left[l].last < code) ++l;
      while (r < right.size() && right[r].last < code) ++r;
      uint32_t last = kLastCode;
      int32_t to_left = kNowhere, to_right = kNowhere;
      if (l < left.size()) {
        if (left[l].first <= code)
          to_left = left[l].next, last = std::min(last, left[l].last);
        else
          last = std::min(last, left[l].first - 1);
      }
      if (r < right.size()) {
        if (right[r].first <= code)
          to_right = right[r].next, last = std::min(last, right[r].last);
        else
          last = std::min(last, right[r].first - 1);
      }
      // Two dead sides accept nothing in an intersection; a complement or a union goes on.
      if (to_left != kNowhere || to_right != kNowhere || accepts(false, false))
        state.edges.push_back({code, last, number_of(to_left, to_right)});
      code = last + 1;
    }
    out.states.push_back(std::move(state));
  }
  return minimal(out);
}

}  // namespace

CodeAutomaton any_text() {
  CodeAutomaton a;
  a.states.push_back({.edges = {{0, kLastCode, 0}}, .accepts = true});
  return a;
}

CodeAutomaton no_text() {
  CodeAutomaton a;
  a.states.emplace_back();
  return a;
}

CodeAutomaton texts(std::span<const std::string> list) {
  std::vector<std::map<uint32_t, int32_t>> tree(1);
  std::set<int32_t> ends;
  for (const std::string& text : list) {
    int32_t state = 0;
    for (size_t at = 0; at < text.size();) {
      const Utf8Step step = decode_utf8(text, at);
      at += static_cast<size_t>(step.size);
      const auto next = static_cast<int32_t>(tree.size());
      const auto [found, is_new] = tree[static_cast<size_t>(state)].emplace(step.code, next);
      state = found->second;
      if (is_new) tree.emplace_back();
      check_regular_size(tree.size() / 10);
    }
    ends.insert(state);
  }
  CodeAutomaton a;
  for (size_t s = 0; s < tree.size(); ++s) {
    CodeAutomaton::State& state = a.states.emplace_back();
    state.accepts = ends.contains(static_cast<int32_t>(s));
    for (const auto& [code, next] : tree[s]) state.edges.push_back({code, code, next});
  }
  return minimal(a);
}

CodeAutomaton length_between(uint32_t min, uint32_t max) {
  if (max < min) return no_text();
  const uint32_t states = max == UINT32_MAX ? min : max;
  check_regular_size(states);
  CodeAutomaton a;
  for (uint32_t n = 0; n <= states; ++n) {
    CodeAutomaton::State& state = a.states.emplace_back();
    state.accepts = n >= min;
    if (n < states) state.edges.push_back({0, kLastCode, static_cast<int32_t>(n) + 1});
  }
  if (max == UINT32_MAX) a.states.back().edges.push_back({0, kLastCode, static_cast<int32_t>(states)});
  return a;
}

CodeAutomaton complement_of(const CodeAutomaton& a) {
  return product_of(a, no_text(), [](bool in_a, bool) { return !in_a; });
}

CodeAutomaton intersection_of(const CodeAutomaton& a, const CodeAutomaton& b) {
  return product_of(a, b, [](bool in_a, bool in_b) { return in_a && in_b; });
}

CodeAutomaton union_of(const CodeAutomaton& a, const CodeAutomaton& b) {
  return product_of(a, b, [](bool in_a, bool in_b) { return in_a || in_b; });
}

bool is_empty(const CodeAutomaton& a) {
  return a.states[0].edges.empty() && !a.states[0].accepts;
}

bool accepts_text(const CodeAutomaton& a, std::string_view utf8) {
  int32_t state = 0;
  for (size_t at = 0; at < utf8.size();) {
    const Utf8Step step = decode_utf8(utf8, at);
    at += static_cast<size_t>(step.size);
    const auto& edges = a.states[static_cast<size_t>(state)].edges;
    const auto edge = std::ranges::find_if(
        edges, [&](const CodeAutomaton::Edge& e) { return e.first <= step.code && step.code <= e.last; });
    if (edge == edges.end()) return false;
    state = edge->next;
  }
  return a.states[static_cast<size_t>(state)].accepts;
}

CodeAutomaton determinize(const CodeNondeterministic& n) {
  using Set = std::vector<int32_t>;
  const auto closed = [&](Set set) {
    std::vector<bool> in(n.states.size());
    Set work;
    for (const int32_t s : set) {
      if (!in[static_cast<size_t>(s)]) in[static_cast<size_t>(s)] = true, work.push_back(s);
    }
    Set all;
    while (!work.empty()) {
      const int32_t s = work.back();
      work.pop_back();
      all.push_back(s);
      for (const int32_t next : n.states[static_cast<size_t>(s)].free) {
        if (!in[static_cast<size_t>(next)]) in[static_cast<size_t>(next)] = true, work.push_back(next);
      }
    }
    std::ranges::sort(all);
    return all;
  };
  std::map<Set, int32_t> numbers;
  std::vector<Set> sets;
  const auto number_of = [&](const Set& set) {
    const auto [at, is_new] = numbers.emplace(set, static_cast<int32_t>(sets.size()));
    if (is_new) {
      sets.push_back(set);
      check_regular_size(sets.size());
    }
    return at->second;
  };
  CodeAutomaton out;
  number_of(closed({0}));
  size_t work = 0;
  for (size_t i = 0; i < sets.size(); ++i) {
    const Set set = sets[i];
    CodeAutomaton::State state;
    std::map<uint32_t, std::vector<std::pair<bool, int32_t>>> changes;  // where sets begin (true) and end
    for (const int32_t s : set) {
      const CodeNondeterministic::State& from = n.states[static_cast<size_t>(s)];
      state.accepts = state.accepts || from.accepts;
      for (const auto& [codes, next] : from.edges) {
        for (const CodeRange& range : codes) {
          changes[range.first].emplace_back(true, next);
          changes[range.last + 1].emplace_back(false, next);
        }
      }
    }
    work += changes.size() * (set.size() + 1);
    if (work > 50'000'000) check_regular_size(kMaxRegularStates + 1);
    std::multiset<int32_t> inside;
    for (auto at = changes.begin(); at != changes.end(); ++at) {
      for (const auto& [begins, next] : at->second) {
        if (begins)
          inside.insert(next);
        else
          inside.erase(inside.find(next));
      }
      if (inside.empty()) continue;
      state.edges.push_back(
          {at->first, std::next(at)->first - 1, number_of(closed(Set(inside.begin(), inside.end())))});
    }
    out.states.push_back(std::move(state));
  }
  return minimal(out);
}

namespace {

// Adds the escapes of a state's characters that cannot stand for themselves.
void add_escapes(CodeAutomaton& out, const std::vector<CodeAutomaton::Edge>& edges, size_t from) {
  CodeAutomaton::State slash, low, high;  // behind "\", "\u000" and "\u001"
  const auto target = [&](uint32_t code) {
    for (const CodeAutomaton::Edge& edge : edges) {
      if (edge.first <= code && code <= edge.last) return edge.next;
    }
    return kNowhere;
  };
  const auto add = [](CodeAutomaton::State& state, uint32_t code, int32_t next) {
    if (next != kNowhere) state.edges.push_back({code, code, next});
  };
  constexpr std::string_view kShort = "\"\"\\\\b\bf\fn\nr\rt\t";  // pairs: the letter, what it stands for
  for (size_t i = 0; i < kShort.size(); i += 2)
    add(slash, static_cast<uint8_t>(kShort[i]), target(static_cast<uint8_t>(kShort[i + 1])));
  for (uint32_t code = 0; code < 0x20; ++code) {
    if (kShort.substr(5).find(static_cast<char>(code)) != std::string_view::npos) continue;
    const uint32_t digit = code % 16;
    add(code < 16 ? low : high, digit < 10 ? '0' + digit : 'a' + digit - 10, target(code));
    if (digit >= 10) add(code < 16 ? low : high, 'A' + digit - 10, target(code));
  }
  const auto place = [&](CodeAutomaton::State state) {
    std::ranges::sort(state.edges, {}, &CodeAutomaton::Edge::first);
    out.states.push_back(std::move(state));
    return static_cast<int32_t>(out.states.size()) - 1;
  };
  if (!low.edges.empty() || !high.edges.empty()) {
    CodeAutomaton::State third;
    if (!low.edges.empty()) add(third, '0', place(low));
    if (!high.edges.empty()) add(third, '1', place(high));
    CodeAutomaton::State second, first;
    add(second, '0', place(third));
    add(first, '0', place(second));
    add(slash, 'u', place(first));
  }
  if (slash.edges.empty()) return;
  const int32_t behind = place(slash);
  out.states[from].edges.push_back({'\\', '\\', behind});
}

}  // namespace

CodeAutomaton json_literals(const CodeAutomaton& a) {
  static const CodeSet kPlain = code_complement(code_set({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}));
  CodeAutomaton out;
  const auto offset = int32_t{1};  // state 0 reads the opening quote
  const auto end = static_cast<int32_t>(a.states.size()) + offset;
  out.states.resize(a.states.size() + 2);
  out.states[0].edges.push_back({'"', '"', offset});
  out.states[static_cast<size_t>(end)].accepts = true;
  for (size_t s = 0; s < a.states.size(); ++s) {
    std::vector<CodeAutomaton::Edge> moved = a.states[s].edges;
    for (CodeAutomaton::Edge& edge : moved) edge.next += offset;
    const size_t at = s + 1;
    for (const CodeAutomaton::Edge& edge : moved) {
      for (const CodeRange& range : code_intersection(kPlain, code_set({{edge.first, edge.last}})))
        out.states[at].edges.push_back({range.first, range.last, edge.next});
    }
    if (a.states[s].accepts) out.states[at].edges.push_back({'"', '"', end});
    add_escapes(out, moved, at);
    std::ranges::sort(out.states[at].edges, {}, &CodeAutomaton::Edge::first);
  }
  return minimal(out);
}

}  // namespace r1
