#include "engine/grammar/byte_automaton.h"

#include <algorithm>
#include <limits>
#include <string>

namespace r1 {
namespace {

constexpr uint32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

// Bytes first[i] .. last[i] at place i: all code points whose UTF-8 is of this form.
struct Utf8Form {
  int size = 0;
  uint8_t first[4] = {}, last[4] = {};
};

int encode_code(uint32_t code, uint8_t* bytes) {
  if (code < 0x80) return bytes[0] = static_cast<uint8_t>(code), 1;
  const int size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (int i = size - 1; i > 0; --i, code >>= 6) bytes[i] = static_cast<uint8_t>(0x80 | (code & 0x3F));
  bytes[0] = static_cast<uint8_t>((0xF00 >> size & 0xFF) | code);
  return size;
}

// Cuts a range of code points without surrogates into forms: where the number of bytes changes, and where a
// byte changes although the bytes after it do not go through all of their values.
void add_forms(uint32_t first, uint32_t last, std::vector<Utf8Form>& forms) {
  for (const uint32_t end : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= end && last > end) {
      add_forms(first, end, forms);
      add_forms(end + 1, last, forms);
      return;
    }
  }
  if (last >= 0x80) {
    const int size = last < 0x800 ? 2 : last < 0x10000 ? 3 : 4;
    for (int i = 1; i < size; ++i) {
      const uint32_t low = (uint32_t{1} << (6 * i)) - 1;  // the bits of the last i bytes
      if ((first & ~low) == (last & ~low)) continue;
      if ((first & low) != 0) {
        add_forms(first, first | low, forms);
        add_forms((first | low) + 1, last, forms);
        return;
      }
      if ((last & low) != low) {
        add_forms(first, (last & ~low) - 1, forms);
        add_forms(last & ~low, last, forms);
        return;
      }
    }
  }
  Utf8Form form;
  form.size = encode_code(first, form.first);
  encode_code(last, form.last);
  forms.push_back(form);
}

// Makes the states between the first and the last byte of characters. Equal states are made once.
class ByteStates {
 public:
  explicit ByteStates(const CodeAutomaton& automaton) {
    edges_.resize(automaton.states.size());
    for (size_t s = 0; s < automaton.states.size(); ++s) {
      std::vector<std::pair<Utf8Form, int32_t>> forms;
      for (const CodeAutomaton::Edge& edge : automaton.states[s].edges) {
        std::vector<Utf8Form> own;
        // Surrogates are no characters.
        if (edge.first < kFirstSurrogate)
          add_forms(edge.first, std::min(edge.last, kFirstSurrogate - 1), own);
        if (edge.last > kLastSurrogate) add_forms(std::max(edge.first, kLastSurrogate + 1), edge.last, own);
        for (const Utf8Form& form : own) forms.emplace_back(form, edge.next);
      }
      edges_[s] = edges_of(forms, 0);
    }
  }

  ByteAutomaton finish(const CodeAutomaton& automaton) const {
    const std::vector<int32_t> numbers = useful(automaton);
    ByteAutomaton bytes;
    bytes.starts.push_back(0);
    for (size_t s = 0; s < edges_.size(); ++s) {
      if (numbers[s] < 0) continue;
      for (const ByteAutomaton::Edge& edge : edges_[s]) {
        const int32_t next = numbers[static_cast<size_t>(edge.next)];
        if (next >= 0) bytes.edges.push_back({edge.first, edge.last, next});
      }
      bytes.starts.push_back(static_cast<uint32_t>(bytes.edges.size()));
      bytes.accepts.push_back(s < automaton.states.size() && automaton.states[s].accepts);
    }
    return bytes;
  }

 private:
  using Edges = std::vector<ByteAutomaton::Edge>;

  // The edges of the state that reads byte `place` of the forms, which are equal before it.
  Edges edges_of(std::span<const std::pair<Utf8Form, int32_t>> forms, int place) {
    Edges edges;
    for (size_t i = 0; i < forms.size();) {
      size_t end = i + 1;
      const auto& [form, target] = forms[i];
      const bool ends = form.size == place + 1;
      while (!ends && end < forms.size() && forms[end].first.first[place] == form.first[place] &&
             forms[end].first.last[place] == form.last[place])
        ++end;
      const int32_t next = ends ? target : state_of(edges_of(forms.subspan(i, end - i), place + 1));
      if (!edges.empty() && edges.back().next == next && edges.back().last + 1 == form.first[place]) {
        edges.back().last = form.last[place];
      } else {
        edges.push_back({form.first[place], form.last[place], next});
      }
      i = end;
    }
    return edges;
  }

  int32_t state_of(Edges edges) {
    const auto [at, is_new] = inner_.emplace(edges, static_cast<int32_t>(edges_.size()));
    if (is_new) edges_.push_back(std::move(edges));
    return at->second;
  }

  // Numbers the states from which an end can be reached; the others have -1. The beginning is always kept.
  std::vector<int32_t> useful(const CodeAutomaton& automaton) const {
    std::vector<std::vector<int32_t>> before(edges_.size());
    for (size_t s = 0; s < edges_.size(); ++s) {
      for (const ByteAutomaton::Edge& edge : edges_[s])
        before[static_cast<size_t>(edge.next)].push_back(static_cast<int32_t>(s));
    }
    std::vector<bool> keep(edges_.size());
    std::vector<int32_t> work;
    for (size_t s = 0; s < automaton.states.size(); ++s) {
      if (automaton.states[s].accepts) keep[s] = true, work.push_back(static_cast<int32_t>(s));
    }
    while (!work.empty()) {
      const int32_t s = work.back();
      work.pop_back();
      for (const int32_t b : before[static_cast<size_t>(s)]) {
        if (!keep[static_cast<size_t>(b)]) keep[static_cast<size_t>(b)] = true, work.push_back(b);
      }
    }
    keep[0] = true;
    std::vector<int32_t> numbers(edges_.size(), -1);
    int32_t count = 0;
    for (size_t s = 0; s < edges_.size(); ++s) {
      if (keep[s]) numbers[s] = count++;
    }
    return numbers;
  }

  std::vector<Edges> edges_;  // of the code automaton's states, then of inner ones
  std::map<Edges, int32_t> inner_;
};

}  // namespace

CodeSet code_set(std::vector<CodeRange> ranges) {
  std::ranges::sort(ranges);
  CodeSet set;
  const auto add = [&](uint32_t first, uint32_t last) {
    if (first > last) return;
    if (!set.empty() && first <= set.back().last + 1) {
      set.back().last = std::max(set.back().last, last);
    } else {
      set.push_back({first, last});
    }
  };
  for (const CodeRange& range : ranges) {
    const uint32_t last = std::min(range.last, kLastCode);
    if (range.first < kFirstSurrogate) add(range.first, std::min(last, kFirstSurrogate - 1));
    if (last > kLastSurrogate) add(std::max(range.first, kLastSurrogate + 1), last);
  }
  return set;
}

CodeSet code_complement(const CodeSet& set) {
  std::vector<CodeRange> rest;
  uint32_t next = 0;
  for (const CodeRange& range : set) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCode) rest.push_back({next, kLastCode});
  return code_set(std::move(rest));
}

CodeSet code_intersection(const CodeSet& a, const CodeSet& b) {
  std::vector<CodeRange> both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uint32_t first = std::max(a[i].first, b[j].first), last = std::min(a[i].last, b[j].last);
    if (first <= last) both.push_back({first, last});
    a[i].last < b[j].last ? ++i : ++j;
  }
  return code_set(std::move(both));
}

bool contains_code(const CodeSet& set, uint32_t code) {
  const auto at = std::ranges::upper_bound(set, code, {}, &CodeRange::first);
  return at != set.begin() && code <= std::prev(at)->last;
}

ByteAutomaton to_bytes(const CodeAutomaton& automaton) {
  return ByteStates(automaton).finish(automaton);
}

ByteAutomaton one_of(const CodeSet& set) {
  CodeAutomaton automaton;
  automaton.states.resize(2);
  for (const CodeRange& range : set) automaton.states[0].edges.push_back({range.first, range.last, 1});
  automaton.states[1].accepts = true;
  return to_bytes(automaton);
}

ByteAutomaton exactly(std::string_view bytes) {
  ByteAutomaton automaton;
  automaton.starts.push_back(0);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    automaton.edges.push_back({byte, byte, static_cast<int32_t>(i) + 1});
    automaton.starts.push_back(static_cast<uint32_t>(automaton.edges.size()));
    automaton.accepts.push_back(false);
  }
  automaton.starts.push_back(static_cast<uint32_t>(automaton.edges.size()));
  automaton.accepts.push_back(true);
  return automaton;
}

// Knuth, Morris and Pratt's automaton without its last state. State s: the text ends with s bytes of the word.
ByteAutomaton bytes_without(std::string_view word) {
  ByteAutomaton automaton;
  automaton.starts.push_back(0);
  for (size_t state = 0; state < word.size(); ++state) {
    const auto next_of = [&](uint8_t byte) {
      const std::string seen = std::string(word.substr(0, state)) + static_cast<char>(byte);
      size_t length = seen.size();
      while (!std::string_view(seen).ends_with(word.substr(0, length))) --length;
      return static_cast<int32_t>(length);
    };
    for (int byte = 0; byte < 256; ++byte) {
      const auto value = static_cast<uint8_t>(byte);
      const int32_t next = next_of(value);
      if (next == static_cast<int32_t>(word.size())) continue;
      const bool extends = automaton.edges.size() > automaton.starts.back() &&
                           automaton.edges.back().next == next && automaton.edges.back().last + 1 == byte;
      if (extends) {
        automaton.edges.back().last = value;
      } else {
        automaton.edges.push_back({value, value, next});
      }
    }
    automaton.starts.push_back(static_cast<uint32_t>(automaton.edges.size()));
    automaton.accepts.push_back(true);
  }
  return automaton;
}

}  // namespace r1
