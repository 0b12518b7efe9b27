#include "engine/grammar/pattern.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "base/error.h"
#include "formats/shown.h"
#include "text/utf8.h"

namespace r1 {
namespace {

const CodeSet kDigits = code_set({{'0', '9'}});
const CodeSet kWordChars = code_set({{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'_', '_'}});
const CodeSet kSpaces = code_set({{9, 13},
                                  {' ', ' '},
                                  {0xA0, 0xA0},
                                  {0x1680, 0x1680},
                                  {0x2000, 0x200A},
                                  {0x2028, 0x2029},
                                  {0x202F, 0x202F},
                                  {0x205F, 0x205F},
                                  {0x3000, 0x3000},
                                  {0xFEFF, 0xFEFF}});
const CodeSet kNotLineEnds = code_complement(code_set({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
const CodeSet kAnyCode = code_set({{0, kLastCode}});

// Builds Thompson's automaton while it reads. A part is a beginning and an end state.
class PatternParser {
 public:
  // `is_whole`: the pattern is about the whole text, so that ^ and $ add nothing.
  PatternParser(std::string_view pattern, bool is_whole) : pattern_(pattern), is_whole_(is_whole) {}

  CodeAutomaton parse() {
    if (!is_valid_utf8(pattern_)) fail("is not UTF-8");
    const int32_t start = state();
    const Part all = alternatives(0);
    if (at_ < pattern_.size()) fail("has a \")\" too many");
    free_edge(start, all.begin);
    machine_.states[static_cast<size_t>(all.end)].accepts = true;
    return determinize(machine_);
  }

 private:
  struct Part {
    int32_t begin = 0, end = 0;
  };

  [[noreturn]] void fail(std::string_view why) const {
    throw Error(fmt::format("pattern \"{}\" {}", shown(replace_invalid_utf8(pattern_)), why));
  }

  int32_t state() {
    if (machine_.states.size() >= kMaxPatternStates)
      fail(fmt::format("needs more than {} states", kMaxPatternStates));
    machine_.states.emplace_back();
    return static_cast<int32_t>(machine_.states.size()) - 1;
  }
  void free_edge(int32_t from, int32_t to) { machine_.states[static_cast<size_t>(from)].free.push_back(to); }
  Part empty() {
    const int32_t s = state();
    return {s, s};
  }
  Part one(const CodeSet& set) {
    const Part part{state(), state()};
    machine_.states[static_cast<size_t>(part.begin)].edges.emplace_back(set, part.end);
    return part;
  }
  Part join(Part a, Part b) {
    free_edge(a.end, b.begin);
    return {a.begin, b.end};
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool more() const { return at_ < pattern_.size(); }
  bool take(char c) {
    if (!more() || pattern_[at_] != c) return false;
    ++at_;
    return true;
  }

  // At depth 0 an alternative has ^ and $, or, in a text that it may be a part of, what may come before and
  // after it.
  Part alternatives(int depth) {
    if (depth > 100) fail("has groups nested more than 100 deep");
    const Part all{state(), state()};
    do {
      const Part part = sequence(depth);
      free_edge(all.begin, part.begin);
      free_edge(part.end, all.end);
    } while (take('|'));
    return all;
  }

  Part sequence(int depth) {
    Part all = empty();
    bool anchored = false, closed = false;
    while (take('^')) {
      if (depth > 0) fail("has ^ inside a group, which is not supported");
      anchored = true;
    }
    const bool is_part = depth == 0 && !is_whole_;
    if (is_part && !anchored) all = join(loop(), all);
    while (more() && peek() != '|' && peek() != ')') {
      if (peek() == '$') {
        if (depth > 0) fail("has $ inside a group, which is not supported");
        ++at_;
        closed = true;
        continue;
      }
      if (closed) fail("goes on behind $, which is not supported");
      all = join(all, repeated(depth));
    }
    if (is_part && !closed) all = join(all, loop());
    return all;
  }

  Part loop() {
    const int32_t s = state();
    machine_.states[static_cast<size_t>(s)].edges.emplace_back(kAnyCode, s);
    return {s, s};
  }

  Part repeated(int depth) {
    const size_t begin = at_;
    Part part = atom(depth);
    uint32_t min = 1, max = 1;
    if (!quantifier(min, max)) return part;
    take('?');  // lazy
    if (peek() == '+') fail("has a possessive repetition (a + behind another), which is not supported");
    if (peek() == '*' || peek() == '?') fail("repeats a repetition");
    // The part is read again for every copy.
    const size_t after = at_;
    const auto copy = [&] {
      at_ = begin;
      const Part again = atom(depth);
      at_ = after;
      return again;
    };
    Part all = empty();
    bool first = true;
    const auto next = [&] { return std::exchange(first, false) ? part : copy(); };
    for (uint32_t i = 0; i < min; ++i) all = join(all, next());
    if (max == UINT32_MAX) {
      const Part inner = next();
      const Part star{state(), state()};
      free_edge(star.begin, inner.begin);
      free_edge(star.begin, star.end);
      free_edge(inner.end, inner.begin);
      free_edge(inner.end, star.end);
      return join(all, star);
    }
    const int32_t out = state();
    for (uint32_t i = min; i < max; ++i) {
      free_edge(all.end, out);
      all = join(all, next());
    }
    free_edge(all.end, out);
    return {all.begin, out};
  }

  // Reads *, +, ? or {m,n}. A { that begins none of these is a character.
  bool quantifier(uint32_t& min, uint32_t& max) {
    if (take('*')) return min = 0, max = UINT32_MAX, true;
    if (take('+')) return min = 1, max = UINT32_MAX, true;
    if (take('?')) return min = 0, max = 1, true;
    if (is_whole_ && peek() == '{' && peek(1) == ',')
      fail("has {,..}, which some dialects read as a text: write {0,..} or \\{,..}");
    if (peek() != '{' || peek(1) < '0' || peek(1) > '9') return false;
    ++at_;
    min = max = count();
    if (take(',')) max = peek() == '}' ? UINT32_MAX : count();
    if (!take('}')) fail("has a { without its }");
    if (max < min) fail("has a repetition whose maximum is below its minimum");
    return true;
  }

  uint32_t count() {
    uint32_t value = 0;
    if (peek() < '0' || peek() > '9') fail("has a repetition without a number");
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<uint32_t>(peek() - '0');
      if (value > 10'000) fail("has a repetition above 10000");
    }
    return value;
  }

  Part atom(int depth) {
    if (take('(')) {
      if (take('?')) group_kind();
      const Part part = alternatives(depth + 1);
      if (!take(')')) fail("has a ( without its )");
      return part;
    }
    if (take('[')) return one(set());
    if (take('.')) return one(kNotLineEnds);
    if (peek() == '*' || peek() == '+' || peek() == '?')
      fail(fmt::format("has nothing for {} to repeat", peek()));
    if (peek() == '^') fail("has ^ inside, which is not supported");
    return one(single());
  }

  // Reads what stands behind "(?" up to the group's first character.
  void group_kind() {
    if (take(':')) return;
    const size_t python = peek() == 'P' ? 1 : 0;
    const std::string_view rest = pattern_.substr(at_ + python);
    if (rest.starts_with('<') && !rest.starts_with("<=") && !rest.starts_with("<!")) {
      const size_t end = rest.find('>');
      const std::string_view name = rest.substr(1, end == std::string_view::npos ? 0 : end - 1);
      if (name.empty() || name.find_first_not_of(kNameCharacters) != std::string_view::npos)
        fail(
            "has a group whose name is not between < and >, or has other characters than letters, digits and "
            "_");
      at_ += python + end + 1;
      return;
    }
    static constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
        {"=", "a look-ahead (?=..)"},    {"!", "a look-ahead (?!..)"},       {"<=", "a look-behind (?<=..)"},
        {"<!", "a look-behind (?<!..)"}, {">", "an atomic group (?>..)"},    {"#", "a comment (?#..)"},
        {"(", "a condition (?(..)..)"},  {"P=", "a back-reference (?P=..)"}, {"P>", "a recursion (?P>..)"},
        {"R", "a recursion (?R)"},       {"|", "a branch reset (?|..)"},     {"&", "a recursion (?&..)"}};
    for (const auto& [begin, name] : kKinds) {
      if (pattern_.substr(at_).starts_with(begin)) fail(fmt::format("has {}, which is not supported", name));
    }
    fail("has flags (?..) or an unknown kind of group, which is not supported");
  }

  CodeSet set() {
    const bool negated = take('^');
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      if (!more()) fail("has a [ without its ]");
      const CodeSet first = single(true);
      const bool is_range = peek() == '-' && peek(1) != ']' && at_ + 1 < pattern_.size();
      if (is_range) {
        ++at_;
        const CodeSet last = single(true);
        const auto one_code = [](const CodeSet& s) { return s.size() == 1 && s[0].first == s[0].last; };
        if (!one_code(first) || !one_code(last) || last[0].first < first[0].first)
          fail("has a range that ends before it begins");
        ranges.push_back({first[0].first, last[0].last});
      } else {
        ranges.insert(ranges.end(), first.begin(), first.end());
      }
    }
    const CodeSet set = code_set(std::move(ranges));
    return negated ? code_complement(set) : set;
  }

  static CodeSet code(uint32_t c) { return code_set({{c, c}}); }

  // A character or an escape.
  CodeSet single(bool in_set = false) {
    if (!more()) fail("ends too early");
    if (!take('\\')) {
      const Utf8Step step = decode_utf8(pattern_, at_);
      at_ += static_cast<size_t>(step.size);
      return code(step.code);
    }
    if (!more()) fail("ends with a backslash");
    const char c = pattern_[at_++];
    static const std::map<char, CodeSet> kClasses = {{'d', kDigits},    {'D', code_complement(kDigits)},
                                                     {'w', kWordChars}, {'W', code_complement(kWordChars)},
                                                     {'s', kSpaces},    {'S', code_complement(kSpaces)},
                                                     {'t', code('\t')}, {'n', code('\n')},
                                                     {'r', code('\r')}, {'f', code('\f')},
                                                     {'v', code('\v')}, {'0', code(0)}};
    if (const auto at = kClasses.find(c); at != kClasses.end()) return at->second;
    if (c == 'x') return code(hex(2));
    if (c == 'u') return code(unicode());
    if (c == 'c' && ((peek() >= 'a' && peek() <= 'z') || (peek() >= 'A' && peek() <= 'Z')))
      return code(static_cast<uint32_t>(pattern_[at_++]) % 32);
    if (c == 'b' && in_set) return code('\b');
    if (c >= '1' && c <= '9' && !in_set)
      fail(fmt::format("has the back-reference \\{}, which is not supported", c));
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_letter || static_cast<uint8_t>(c) >= 0x80)
      fail(fmt::format("has \\{}, which is not supported", is_letter ? std::string(1, c) : "?"));
    return code(static_cast<uint8_t>(c));
  }

  uint32_t unicode() {
    if (take('{')) {
      uint32_t value = 0;
      while (!take('}')) {
        value = value << 4 | hex(1);
        if (value > kLastCode) fail("has a \\u{..} above 10FFFF");
      }
      return value;
    }
    const uint32_t high = hex(4);
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high < 0xDC00 && peek() == '\\' && peek(1) == 'u') {
      at_ += 2;
      const uint32_t low = hex(4);
      if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    fail("has half of a surrogate pair");
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("has an escape without its hexadecimal digits");
      value = value << 4 | static_cast<uint32_t>(digit);
      ++at_;
    }
    return value;
  }

  static constexpr std::string_view kNameCharacters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

  std::string_view pattern_;
  bool is_whole_;
  size_t at_ = 0;
  CodeNondeterministic machine_;
};

}  // namespace

CodeAutomaton pattern_language(std::string_view pattern) {
  return PatternParser(pattern, false).parse();
}

CodeAutomaton whole_pattern_language(std::string_view pattern) {
  return PatternParser(pattern, true).parse();
}

GrammarRules whole_pattern_rules(std::string_view pattern, const std::string& source) {
  GrammarRules rules;
  const int32_t root = rules.add_rule("root");
  try {
    const CodeAutomaton language = whole_pattern_language(pattern);
    if (is_empty(language)) throw Error("the pattern matches no text");
    rules.add_alternative(root, {rules.scan(to_bytes(language))});
  } catch (const Error& error) {
    throw Error(source + ": " + error.what());
  }
  return rules;
}

std::string_view pattern_of_format(std::string_view format) {
  static const std::map<std::string_view, std::string_view> kFormats = [] {
    static constexpr std::string_view kDay =
        "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
        "02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579]["
        "26])00)-02-29)";
    static constexpr std::string_view kClock =
        "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
        ")";
    static constexpr std::string_view kByte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    static constexpr std::string_view kLabel = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?";
    static const std::string
        date = fmt::format("^{}$", kDay),
        time = fmt::format("^{}$", kClock), both = fmt::format("^{}T{}$", kDay, kClock),
        ipv4 = fmt::format("^{0}(?:[.]{0}){{3}}$", kByte),
        hostname = fmt::format("^{0}(?:[.]{0}){{0,3}}$", kLabel),
        email = fmt::format("^[A-Za-z0-9_+-]{{1,30}}(?:[.][A-Za-z0-9_+-]{{1,30}})?@{0}(?:[.]{0}){{1,3}}$",
                            kLabel);
    return std::map<std::string_view, std::string_view>{
        {"date", date},
        {"time", time},
        {"date-time", both},
        {"ipv4", ipv4},
        {"hostname", hostname},
        {"email", email},
        {"ipv6", "^[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){7}$"},
        {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
        {"duration", "^P(?:[0-9]{1,9}W|[0-9]{1,9}D(?:T[0-9]{1,9}[HMS])?|T[0-9]{1,9}[HMS])$"},
        {"uri", "^[a-z][a-z0-9+-]{0,15}://[A-Za-z0-9.-]{1,60}(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*$"}};
  }();
  const auto at = kFormats.find(format);
  return at == kFormats.end() ? std::string_view{} : at->second;
}

}  // namespace r1
