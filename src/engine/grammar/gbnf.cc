#include "engine/grammar/gbnf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/error.h"
#include "engine/grammar/grammar.h"
#include "text/utf8.h"

namespace r1 {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// Returns text for an error: at most 20 bytes of the line.
std::string excerpt(std::string_view text) {
  std::string_view line = text.substr(0, text.find('\n'));
  if (line.empty()) return "the end of the line";
  if (line.size() > 20) line = line.substr(0, complete_utf8_prefix(line.substr(0, 20)));
  return fmt::format("\"{}\"", replace_invalid_utf8(line));
}

class GbnfParser {
 public:
  GbnfParser(std::string_view text, const std::string& source) : text_(text), source_(source) {
    if (text.size() > kMaxGbnfBytes) {
      throw Error(fmt::format("{}: the grammar is {} bytes long; it must be at most {}", source, text.size(),
                              kMaxGbnfBytes));
    }
    const int32_t root = rule_named("root");
    R1_CHECK(root == 0, "the root is rule ", root);
  }

  GrammarRules parse() {
    skip_space(true);
    while (at_ < text_.size()) rule();
    for (const auto& [name, use] : names_) {
      if (use.defined) continue;
      if (name == "root") throw Error(source_ + ": the grammar has no rule \"root\"");
      throw Error(fmt::format("{}:{}: rule \"{}\" is not defined", source_, use.line, name));
    }
    return std::move(rules_);
  }

 private:
  struct Use {
    int32_t rule = 0;
    int64_t line = 0;  // where it was first named
    bool defined = false;
  };

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(fmt::format("{}:{}: {}", source_, line_, reason));
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    fail(fmt::format("{} must come here, not {}", wanted, excerpt(text_.substr(at_))));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }

  // Skips blanks and comments; with `lines` also the ends of lines.
  void skip_space(bool lines) {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        if (at_ == text_.size()) return;
      }
      if (text_[at_] == '\n') {
        if (!lines) return;
        ++line_;
      } else if (text_[at_] == '\r') {
        if (!lines) return;
      } else if (text_[at_] != ' ' && text_[at_] != '\t') {
        return;
      }
    }
  }

  std::string name() {
    const size_t begin = at_;
    while (is_name_char(peek())) ++at_;
    if (at_ == begin) unexpected("the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }

  int32_t rule_named(const std::string& name) {
    const auto at = names_.find(name);
    if (at != names_.end()) return at->second.rule;
    const int32_t rule = rules_.add_rule(name);
    names_[name] = {.rule = rule, .line = line_, .defined = false};
    return rule;
  }

  void rule() {
    const std::string rule_name = name();
    const int32_t rule = rule_named(rule_name);
    Use& use = names_.at(rule_name);
    if (use.defined) fail(fmt::format("rule \"{}\" is defined twice", rule_name));
    use.defined = true;
    name_ = rule_name;
    skip_space(false);
    if (!take("::=")) unexpected("::=");
    skip_space(true);
    for (GrammarAlternative& alternative : alternatives(0))
      rules_.add_alternative(rule, std::move(alternative));
    skip_space(false);
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r') unexpected("the end of the rule");
    skip_space(true);
  }

  std::vector<GrammarAlternative> alternatives(int depth) {
    if (depth > kMaxGbnfDepth) fail(fmt::format("groups are nested more than {} deep", kMaxGbnfDepth));
    std::vector<GrammarAlternative> list{sequence(depth)};
    while (next_alternative()) {
      skip_space(true);
      list.push_back(sequence(depth));
    }
    return list;
  }

  // Takes a "|", also one at the beginning of a later line.
  bool next_alternative() {
    const size_t at = at_;
    const int64_t line = line_;
    skip_space(true);
    if (take("|")) return true;
    at_ = at;
    line_ = line;
    return false;
  }

  GrammarAlternative sequence(int depth) {
    GrammarAlternative items;
    for (;;) {
      skip_space(depth > 0);
      if (!item(depth, items)) return items;
      skip_space(depth > 0);
      repeats(items);
    }
  }

  // Appends one item, or none for "". Returns false if none begins here.
  bool item(int depth, GrammarAlternative& items) {
    const char c = peek();
    if (at_ == text_.size()) return false;
    single_ = true;
    if (c == '"') {
      const std::string bytes = literal();
      single_ = !bytes.empty();
      if (single_) items.push_back(rules_.text(bytes));
    } else if (c == '[') {
      items.push_back(rules_.set(character_set()));
    } else if (c == '.') {
      ++at_;
      items.push_back(rules_.set(code_set({{0, kLastCode}})));
    } else if (c == '(') {
      ++at_;
      std::vector<GrammarAlternative> inner = alternatives(depth + 1);
      skip_space(true);
      if (!take(")")) unexpected("\")\"");
      items.push_back(rules_.one_of_these(std::move(inner), name_));
    } else if (c == '<' || c == '!') {
      fail("references to tokens (<...>) are not supported; write the text instead");
    } else if (is_name_char(c)) {
      items.push_back(GrammarRules::call(rule_named(name())));
    } else {
      return false;
    }
    return true;
  }

  // Applies *, +, ? and {m,n} to the last item.
  void repeats(GrammarAlternative& items) {
    for (;;) {
      uint32_t min = 0, max = GrammarItem::kNoMaximum;
      if (take("*")) {
      } else if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (take("{")) {
        bounds(min, max);
      } else {
        return;
      }
      if (!single_) continue;  // of "" is ""
      items.back() = rules_.repeat(items.back(), min, max, name_);
    }
  }

  void bounds(uint32_t& min, uint32_t& max) {
    skip_space(false);
    const bool has_min = peek() != ',';
    if (has_min) min = max = number();
    skip_space(false);
    if (take(",")) {
      skip_space(false);
      max = peek() == '}' ? GrammarItem::kNoMaximum : number();
      skip_space(false);
    }
    if (!take("}")) unexpected("\"}\"");
    if (max < min) fail(fmt::format("{{{},{}}} has a maximum below its minimum", min, max));
  }

  uint32_t number() {
    uint32_t value = 0;
    const size_t begin = at_;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<uint32_t>(peek() - '0');
      if (value > kMaxGbnfRepeats) fail(fmt::format("a repetition has a number above {}", kMaxGbnfRepeats));
    }
    if (at_ == begin) unexpected("a number");
    return value;
  }

  std::string literal() {
    std::string bytes;
    for (++at_; peek() != '"';) {
      if (at_ == text_.size() || peek() == '\n') fail("the text has no closing \"");
      append_utf8(bytes, character());
    }
    ++at_;
    return bytes;
  }

  CodeSet character_set() {
    ++at_;
    const bool negated = take("^");
    std::vector<CodeRange> ranges;
    while (peek() != ']') {
      if (at_ == text_.size() || peek() == '\n') fail("the set has no closing ]");
      const uint32_t first = character();
      uint32_t last = first;
      if (peek() == '-' && text_.substr(at_, 2) != "-]") {
        ++at_;
        if (at_ == text_.size() || peek() == '\n') fail("the set has no closing ]");
        last = character();
        if (last < first) fail("a range of a set ends before it begins");
      }
      ranges.push_back({first, last});
    }
    ++at_;
    const CodeSet set = code_set(std::move(ranges));
    return negated ? code_complement(set) : set;
  }

  // A character of a text or a set, perhaps escaped.
  char32_t character() {
    if (peek() != '\\') {
      const Utf8Step step = decode_utf8(text_, at_);
      if (!step.valid) fail("the grammar is not UTF-8");
      at_ += static_cast<size_t>(step.size);
      return step.code;
    }
    ++at_;
    const char c = peek();
    ++at_;
    switch (c) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '\'':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return static_cast<char32_t>(c);
      default:
        --at_;
        fail(fmt::format("the escape {} is unknown", excerpt(text_.substr(at_ - 1, 2))));
    }
  }

  char32_t hex(int digits) {
    uint32_t code = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail(fmt::format("an escape must have {} hexadecimal digits", digits));
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    if (code > kLastCode || (code >= 0xD800 && code <= 0xDFFF))
      fail(fmt::format("U+{:04X} is no character", code));
    return code;
  }

  std::string_view text_;
  const std::string& source_;
  size_t at_ = 0;
  int64_t line_ = 1;
  std::string name_;     // of the rule that is read
  bool single_ = false;  // the last item is in the list
  std::map<std::string, Use, std::less<>> names_;
  GrammarRules rules_;
};

}  // namespace

GrammarRules parse_gbnf(std::string_view text, const std::string& source) {
  try {
    return GbnfParser(text, source).parse();
  } catch (const GrammarTooLarge& error) {
    throw Error(source + ": " + error.what());
  }
}

std::shared_ptr<const Grammar> Grammar::from_gbnf(std::string_view text, const std::string& source) {
  return from_rules(parse_gbnf(text, source), source);
}

}  // namespace r1
