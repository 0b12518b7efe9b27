#include "engine/grammar/shortest.h"

#include <algorithm>
#include <queue>
#include <set>
#include <vector>

#include "engine/grammar/program.h"
#include "engine/grammar/states.h"

namespace r1 {
namespace {

constexpr int64_t kEndless = INT64_MAX / 4;

int64_t sum_of(int64_t a, int64_t b) {
  return std::min(a + b, kEndless);
}
int64_t times(int64_t length, int64_t count) {
  return length == 0 || count == 0 ? 0 : count > kEndless / length ? kEndless : length * count;
}

// A shortest text that an automaton accepts. Every state leads to an accepting one.
std::string shortest_of(const ByteAutomaton& automaton) {
  std::vector<std::pair<int32_t, uint8_t>> from(static_cast<size_t>(automaton.size()), {-1, 0});
  std::vector<int32_t> queue{0};
  for (size_t i = 0; i < queue.size(); ++i) {
    const int32_t state = queue[i];
    if (automaton.accepts_at(state)) {
      std::string text;
      for (int32_t at = state; at != 0; at = from[static_cast<size_t>(at)].first)
        text += static_cast<char>(from[static_cast<size_t>(at)].second);
      std::ranges::reverse(text);
      return text;
    }
    for (const ByteAutomaton::Edge& edge : automaton.edges_of(state)) {
      if (edge.next == 0 || from[static_cast<size_t>(edge.next)].first >= 0) continue;
      from[static_cast<size_t>(edge.next)] = {state, edge.first};
      queue.push_back(edge.next);
    }
  }
  return {};
}

// The lengths of rules' shortest texts, from the shortest on (Knuth 1977, "A generalization of Dijkstra's
// algorithm").
class ShortestRules {
 public:
  explicit ShortestRules(const GrammarProgram& program) : program_(program) {
    for (const ByteAutomaton& automaton : program.automata) scans_.push_back(shortest_of(automaton));
    length_.assign(program.rules.size(), kEndless);
    best_.assign(program.rules.size(), -1);
    known_.assign(program.rules.size(), false);
    users_.resize(program.rules.size());
    for (size_t r = 0; r < program.rules.size(); ++r) {
      for (const int32_t position : program.rules[r].alternatives) add(static_cast<int32_t>(r), position);
    }
    find();
  }

  int64_t length() const { return length_[static_cast<size_t>(program_.root)]; }

  // No value if it takes too long.
  std::optional<std::string> text() const {
    if (length() > kMostShortestBytes) return std::nullopt;
    constexpr int64_t kMostSteps = 4'000'000;
    std::string text;
    struct Place {
      int32_t position;
      uint32_t times;  // repeat: how often its rule is still to be written
    };
    std::vector<Place> stack;
    const auto enter = [&](int32_t rule) {
      if (length_[static_cast<size_t>(rule)] > 0) stack.push_back({best_[static_cast<size_t>(rule)], 0});
    };
    enter(program_.root);
    for (int64_t steps = 0; !stack.empty(); ++steps) {
      if (steps > kMostSteps) return std::nullopt;
      Place& place = stack.back();
      const GrammarOperation& operation = program_.operations[static_cast<size_t>(place.position)];
      switch (operation.kind) {
        case GrammarOperation::Kind::scan:
          text += scans_[static_cast<size_t>(operation.target)];
          ++place.position;
          break;
        case GrammarOperation::Kind::call:
          ++place.position;
          enter(operation.target);
          break;
        case GrammarOperation::Kind::repeat:
          if (place.times == operation.min || length_[static_cast<size_t>(operation.target)] == 0) {
            place.times = 0;
            ++place.position;
          } else {
            ++place.times;
            enter(operation.target);
          }
          break;
        case GrammarOperation::Kind::end:
          stack.pop_back();
          break;
      }
    }
    return text;
  }

 private:
  struct Alternative {
    int32_t rule, position;
    int64_t length = 0;   // of the parts that are known
    int64_t unknown = 0;  // parts
  };
  struct User {
    size_t alternative;
    int64_t count;
  };

  void add(int32_t rule, int32_t position) {
    const size_t number = alternatives_.size();
    Alternative alternative{.rule = rule, .position = position};
    for (int32_t at = position;; ++at) {
      const GrammarOperation& operation = program_.operations[static_cast<size_t>(at)];
      if (operation.kind == GrammarOperation::Kind::end) break;
      if (operation.kind == GrammarOperation::Kind::scan) {
        alternative.length =
            sum_of(alternative.length, std::ssize(scans_[static_cast<size_t>(operation.target)]));
        continue;
      }
      const int64_t count = operation.kind == GrammarOperation::Kind::call ? 1 : operation.min;
      if (count == 0) continue;
      users_[static_cast<size_t>(operation.target)].push_back({number, count});
      ++alternative.unknown;
    }
    alternatives_.push_back(alternative);
    if (alternative.unknown == 0) ready_.emplace(alternative.length, number);
  }

  void find() {
    while (!ready_.empty()) {
      const auto [length, number] = ready_.top();
      ready_.pop();
      const auto rule = static_cast<size_t>(alternatives_[number].rule);
      if (known_[rule]) continue;
      known_[rule] = true;
      length_[rule] = length;
      best_[rule] = alternatives_[number].position;
      for (const User& user : users_[rule]) {
        Alternative& alternative = alternatives_[user.alternative];
        alternative.length = sum_of(alternative.length, times(length, user.count));
        if (--alternative.unknown == 0) ready_.emplace(alternative.length, user.alternative);
      }
    }
  }

  const GrammarProgram& program_;
  std::vector<std::string> scans_;  // by automaton
  std::vector<int64_t> length_;     // by rule
  std::vector<int32_t> best_;       // by rule: the position of the alternative
  std::vector<bool> known_;
  std::vector<std::vector<User>> users_;  // by rule
  std::vector<Alternative> alternatives_;
  using Ready = std::pair<int64_t, size_t>;
  std::priority_queue<Ready, std::vector<Ready>, std::greater<>> ready_;
};

}  // namespace

ShortestText shortest_text(const Grammar& grammar) {
  const ShortestRules rules(grammar.program());
  return {.bytes = rules.length(), .text = rules.text()};
}

std::optional<int64_t> tokens_enough(const TokenVocabulary& vocabulary, const std::string& text) {
  const auto nodes = vocabulary.nodes();
  std::vector<int64_t> fewest(text.size() + 1, kEndless);
  fewest[0] = 0;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (fewest[begin] == kEndless) continue;
    // Down the tree along the text; the nodes of a level are neighbours.
    size_t at = 0, end = nodes.size();
    for (size_t depth = 0; begin + depth < text.size(); ++depth) {
      const auto byte = static_cast<uint8_t>(text[begin + depth]);
      while (at < end && nodes[at].byte != byte) at = nodes[at].end;
      if (at >= end) break;
      if (nodes[at].tokens > 0)
        fewest[begin + depth + 1] = std::min(fewest[begin + depth + 1], fewest[begin] + 1);
      end = nodes[at].end;
      ++at;
    }
  }
  return fewest.back() == kEndless ? std::nullopt : std::optional(fewest.back());
}

bool may_fit(const TokenMasks& masks, const ShortestText& shortest, int64_t most) {
  const TokenVocabulary& vocabulary = masks.vocabulary();
  if (shortest.bytes > times(std::max<int64_t>(vocabulary.deepest(), 1), most)) return false;
  if (shortest.text) {
    const std::optional<int64_t> enough = tokens_enough(vocabulary, *shortest.text);
    if (enough && *enough <= most) return true;
  }
  // Breadth first: the states after 1, 2, ... tokens.
  constexpr int64_t kMostVisited = 4'000'000;
  const std::shared_ptr<GrammarStates> shared = masks.grammar()->states();
  GrammarStates& states = *shared;
  const std::lock_guard lock(states.mutex());
  const auto nodes = vocabulary.nodes();
  std::vector<int32_t> layer{states.start(false)}, at(static_cast<size_t>(vocabulary.deepest()) + 1);
  std::set<int32_t> seen(layer.begin(), layer.end());
  if (states.is_complete(layer[0])) return true;
  int64_t visited = 0;
  for (int64_t made = 0; made < most && !layer.empty(); ++made) {
    std::vector<int32_t> next_layer;
    for (const int32_t state : layer) {
      at[0] = state;
      for (size_t i = 0; i < nodes.size(); ++visited) {
        if (visited > kMostVisited || states.is_full()) return true;
        const int32_t next = states.next(at[nodes[i].depth - size_t{1}], nodes[i].byte);
        if (next == GrammarStates::kDead) {
          i = nodes[i].end;
          continue;
        }
        at[nodes[i].depth] = next;
        if (nodes[i].tokens > 0) {
          if (states.is_complete(next)) return true;
          if (seen.insert(next).second) next_layer.push_back(next);
        }
        ++i;
      }
    }
    layer = std::move(next_layer);
  }
  return false;
}

}  // namespace r1
