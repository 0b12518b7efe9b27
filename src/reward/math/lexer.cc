#include "reward/math/lexer.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/ascii.h"
#include "reward/answer_text.h"
#include "reward/math/units.h"

namespace r1::math {
namespace {

using TokenKind = Token::Kind;

// Maps commands without an argument to their tokens. "" is a command that vanishes.
const std::map<std::string_view, std::string_view>& signs() {
  static const std::map<std::string_view, std::string_view> table{
      {"times", "*"},      {"cdot", "*"},         {"ast", "*"},
      {"cdotp", "*"},      {"div", "/"},          {"pm", "pm"},
      {"mp", "pm"},        {"le", "<="},          {"leq", "<="},
      {"leqslant", "<="},  {"leqq", "<="},        {"ge", ">="},
      {"geq", ">="},       {"geqslant", ">="},    {"geqq", ">="},
      {"lt", "<"},         {"gt", ">"},           {"ne", "!="},
      {"neq", "!="},       {"approx", "~"},       {"simeq", "~"},
      {"in", "in"},        {"cup", "cup"},        {"cap", "cap"},
      {"infty", "inf"},    {"emptyset", "empty"}, {"varnothing", "empty"},
      {"frac", "frac"},    {"dfrac", "frac"},     {"tfrac", "frac"},
      {"cfrac", "frac"},   {"sqrt", "sqrt"},      {"binom", "binom"},
      {"dbinom", "binom"}, {"tbinom", "binom"},   {"lbrace", "set{"},
      {"rbrace", "}set"},  {"lbrack", "["},       {"rbrack", "]"},
      {"lparen", "("},     {"rparen", ")"},       {"vert", "|"},
      {"mid", "|"},        {"lvert", "|"},        {"rvert", "|"},
      {"colon", ":"},      {"circ", "°"},         {"degree", "°"},
      {"degrees", "°"},    {"land", "and"},       {"lor", "or"},
      {"wedge", "and"},    {"vee", "or"},         {"left", ""},
      {"right", ""},       {"big", ""},           {"Big", ""},
      {"bigl", ""},        {"bigr", ""},          {"Bigl", ""},
      {"Bigr", ""},        {"bigg", ""},          {"Bigg", ""},
      {"biggl", ""},       {"biggr", ""},         {"displaystyle", ""},
      {"textstyle", ""},   {"limits", ""},        {"quad", ""},
      {"qquad", ""},       {"thinspace", ""},     {"enspace", ""},
      {"nonumber", ""},    {"hfill", ""},         {"cup ", "cup"}};
  return table;
}

constexpr auto kFunctions = std::to_array<std::string_view>(
    {"sin",  "cos", "tan", "sec", "csc", "cot", "arcsin", "arccos", "arctan", "sinh", "cosh",
     "tanh", "log", "ln",  "lg",  "exp", "gcd", "lcm",    "max",    "min",    "det",  "arg"});

constexpr auto kGreek = std::to_array<std::string_view>(
    {"alpha",    "beta",    "gamma", "delta",  "epsilon", "varepsilon", "zeta",  "eta",   "theta",
     "vartheta", "iota",    "kappa", "lambda", "mu",      "nu",         "xi",    "rho",   "sigma",
     "tau",      "upsilon", "phi",   "varphi", "chi",     "psi",        "omega", "Gamma", "Delta",
     "Theta",    "Lambda",  "Xi",    "Sigma",  "Phi",     "Psi",        "Omega", "ell",   "hbar"});

// Words of prose, whose letters are not variables. A text with such a word is not notation.
constexpr auto kProse =
    std::to_array<std::string_view>({"is", "are", "was", "be",   "the",  "so",  "it",  "its", "we", "of",
                                     "to", "for", "has", "that", "this", "not", "but", "if",  "by", "as"});

constexpr auto kTextCommands =
    std::to_array<std::string_view>({"text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt",
                                     "mbox", "hbox", "mathrm", "operatorname", "rm", "bf"});
// Commands whose argument stands for itself.
constexpr auto kPlainCommands = std::to_array<std::string_view>(
    {"boxed", "fbox", "mathbf", "mathit", "mathsf", "boldsymbol", "bm", "vec", "hat", "bar", "mathbb",
     "mathcal", "overrightarrow", "phantom", "ensuremath", "textcolor"});

struct Spelling {
  std::string_view text, sign;
};
constexpr auto kUnicode = std::to_array<Spelling>(
    {{"×", "*"},   {"·", "*"},     {"⋅", "*"},     {"÷", "/"},     {"−", "-"},     {"–", "-"},   {"≤", "<="},
     {"≥", ">="},  {"≠", "!="},    {"≈", "~"},     {"∈", "in"},    {"∪", "cup"},   {"∩", "cap"}, {"±", "pm"},
     {"∞", "inf"}, {"∅", "empty"}, {"°", "°"},     {"√", "sqrt"},  {"€", "$"},     {"£", "$"},   {"¥", "$"},
     {"₹", "$"},   {"\u00A0", ""}, {"\u202F", ""}, {"\u2009", ""}, {"\u200B", ""}, {"²", "^2"},  {"³", "^3"},
     {"½", "1/2"}, {"¼", "1/4"},   {"¾", "3/4"}});

template <class Range>
bool has(const Range& range, std::string_view word) {
  return std::ranges::find(range, word) != range.end();
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : rest_(text) {}

  bool run() {
    while (!rest_.empty()) {
      if (out_.size() > kMaxTokens) return false;
      const char c = rest_[0];
      if (is_blank(c) || c == '~') {
        blank_ = true;
        rest_.remove_prefix(1);
      } else if (is_digit(c) || (c == '.' && rest_.size() > 1 && is_digit(rest_[1]))) {
        number();
      } else if (is_letter(c)) {
        if (!word()) return false;
      } else if (c == '\\') {
        if (!command()) return false;
      } else if (static_cast<unsigned char>(c) >= 0x80) {
        if (!unicode()) return false;
      } else if (!ascii(c)) {
        return false;
      }
    }
    return true;
  }

  std::vector<Token> take() { return std::move(out_); }

 private:
  void push(TokenKind kind, std::string_view text) {
    out_.push_back({.kind = kind, .text = std::string(text), .number = {}, .blank_before = blank_});
    blank_ = false;
  }
  void push_number(Fraction value, std::string text) {
    out_.push_back({.kind = TokenKind::number,
                    .text = std::move(text),
                    .number = std::move(value),
                    .blank_before = blank_});
    blank_ = false;
  }
  void sign(std::string_view text) {
    if (text.empty()) {
      blank_ = true;
      return;
    }
    if (text == "(" || text == "[" || text == "{" || text == "set{") ++depth_;
    if (text == ")" || text == "]" || text == "}" || text == "}set") --depth_;
    push(TokenKind::sign, text);
  }

  bool behind_number() const { return !out_.empty() && out_.back().kind == TokenKind::number; }

  static size_t digits_at(std::string_view text, size_t at) {
    size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    return end - at;
  }

  // Returns the bytes of a thousands separator at `at` that is followed by exactly three digits, or 0. Inside
  // brackets a bare comma separates elements instead.
  size_t separator_at(size_t at) const {
    for (const std::string_view separator : {",\\!", "{,}", "\\,", ","}) {
      if (rest_.substr(at, separator.size()) != separator) continue;
      size_t size = separator.size();
      if (separator == ",\\!") {
        while (at + size < rest_.size() && rest_[at + size] == ' ') ++size;
      }
      if (separator == "," && depth_ > 0) continue;
      return digits_at(rest_, at + size) == 3 ? size : 0;
    }
    return 0;
  }

  void number() {
    std::string digits(rest_.substr(0, digits_at(rest_, 0)));
    size_t at = digits.size();
    if (!digits.empty() && digits.size() <= 3 && digits[0] != '0') {
      for (size_t size = separator_at(at); size != 0; size = separator_at(at)) {
        digits += rest_.substr(at + size, 3);
        at += size + 3;
      }
    }
    std::string written = digits.empty() ? "0" : digits;
    Fraction value = Integer::from_digits(written);
    if (at < rest_.size() && rest_[at] == '.') {
      const size_t decimals = digits_at(rest_, at + 1);
      const std::string_view tail = rest_.substr(at + 1, decimals);
      const std::string_view behind = rest_.substr(at + 1 + decimals);
      if (decimals > 0 || behind.starts_with("\\overline{")) {
        const Fraction scale = power(Fraction(10), static_cast<int>(decimals));
        if (decimals > 0) value = value + Fraction(Integer::from_digits(tail)) / scale;
        written += "." + std::string(tail);
        at += 1 + decimals;
        repeating(at, value, scale);
      } else if (at + 1 == rest_.size() || !is_letter(rest_[at + 1])) {
        ++at;  // a full stop or a bare point
      }
    }
    rest_.remove_prefix(std::min(at, rest_.size()));
    scale_by_exponent(value, written);
    push_number(std::move(value), std::move(written));
  }

  // Reads an exponent: 1e400, 2.5E-3. The digits must follow the e directly.
  void scale_by_exponent(Fraction& value, std::string& written) {
    constexpr int kMost = 1000;
    if (rest_.size() < 2 || to_lower(rest_[0]) != 'e') return;
    const bool sign = rest_[1] == '-' || rest_[1] == '+';
    const size_t begin = sign ? 2 : 1, digits = digits_at(rest_, begin);
    if (digits == 0 || digits > 4) return;
    int exponent = 0;
    for (const char c : rest_.substr(begin, digits)) exponent = exponent * 10 + (c - '0');
    if (exponent > kMost) return;
    value = value * power(Fraction(10), rest_[1] == '-' ? -exponent : exponent);
    written += rest_.substr(0, begin + digits);
    rest_.remove_prefix(begin + digits);
  }

  // Reads \overline{15} behind a decimal: the digits 15 repeat.
  void repeating(size_t& at, Fraction& value, const Fraction& scale) {
    constexpr std::string_view kLine = "\\overline{";
    if (rest_.substr(at, kLine.size()) != kLine) return;
    const size_t digits = digits_at(rest_, at + kLine.size());
    const size_t end = at + kLine.size() + digits;
    if (digits == 0 || end >= rest_.size() || rest_[end] != '}') return;
    const Integer period = Integer::from_digits(rest_.substr(at + kLine.size(), digits));
    const Integer nines = power(Integer(10), static_cast<unsigned>(digits)) - Integer(1);
    value = value + Fraction(period, nines) / scale;
    at = end + 1;
  }

  bool word() {
    size_t size = 0;
    while (size < rest_.size() && is_letter(rest_[size])) ++size;
    const std::string_view word = rest_.substr(0, size);
    if (std::ranges::any_of(kProse, [&](std::string_view prose) { return equal_ignoring_case(word, prose); }))
      return false;
    const size_t before = out_.size();
    if (behind_number() && take_half_of_day()) return true;
    named(word);
    if (out_.size() == before) {
      if (size == 1) {
        push(TokenKind::symbol, word);
      } else if (size >= 4 || (behind_number() && is_unit(word))) {
        push(TokenKind::text, word);
      } else {
        for (const char& c : word) push(TokenKind::symbol, {&c, 1});
      }
    }
    rest_.remove_prefix(size);
    return true;
  }

  // Reads the "p.m." of 8:34 p.m.
  bool take_half_of_day() {
    for (const auto& [spelling, meaning] : {Spelling{"a.m.", "a.m."},
                                            {"p.m.", "p.m."},
                                            {"a.m", "a.m."},
                                            {"p.m", "p.m."},
                                            {"am", "a.m."},
                                            {"pm", "p.m."},
                                            {"AM", "a.m."},
                                            {"PM", "p.m."}}) {
      const std::string_view next = rest_.substr(std::min(spelling.size(), rest_.size()));
      if (!rest_.starts_with(spelling) || (!next.empty() && is_letter(next[0]))) continue;
      push(TokenKind::text, meaning);
      rest_.remove_prefix(spelling.size());
      return true;
    }
    return false;
  }

  // Pushes the token of a word that has a meaning.
  void named(std::string_view word) {
    if (word == "and" || word == "or") {
      sign(word);
    } else if (word == "pi") {
      push(TokenKind::symbol, "π");
    } else if (word == "sqrt") {
      sign("sqrt");
    } else if (equal_ignoring_case(word, "infinity") || word == "inf" || word == "oo") {
      sign("inf");
    } else if (has(kFunctions, word) && !(word == "min" && behind_number())) {
      push(TokenKind::function, word);
    } else if (word == "percent") {
      sign("%");
    } else if (word == "degrees" || word == "degree") {
      sign("°");
    }
  }

  bool command() {
    if (rest_.size() < 2) {
      rest_ = {};
      return true;
    }
    const char c = rest_[1];
    if (!is_letter(c)) {
      rest_.remove_prefix(2);
      if (c == '{')
        sign("set{");
      else if (c == '}')
        sign("}set");
      else if (c == '%')
        sign("%");
      else if (c == '$')
        sign("$");
      else if (c == '|')
        sign("|");
      else if (c == '\\')
        command_lines();
      else if (c == '&' || c == '#' || c == '_')
        return false;
      else
        blank_ = true;  // \, \; \: \! "\ " \( \) \[ \]
      return true;
    }
    size_t size = 1;
    while (size < rest_.size() && is_letter(rest_[size])) ++size;
    std::string_view name = rest_.substr(1, size - 1);
    for (const std::string_view space : {"qquad", "quad"}) {  // \quadx is \quad x without the blank
      if (name.starts_with(space)) name = space;
    }
    rest_.remove_prefix(1 + name.size());
    if (const auto at = signs().find(name); at != signs().end()) {
      sign(at->second);
      return true;
    }
    if (name == "pi") {
      push(TokenKind::symbol, "π");
    } else if (has(kFunctions, name)) {
      push(TokenKind::function, name);
    } else if (has(kGreek, name)) {
      push(TokenKind::symbol, "\\" + std::string(name));
    } else if (name == "begin" || name == "end") {
      return environment(name == "begin");
    } else if (has(kTextCommands, name)) {
      return text_argument();
    } else if (!has(kPlainCommands, name)) {
      return false;
    }
    return true;
  }

  void command_lines() {
    if (matrices_ > 0)
      sign("newline");
    else
      blank_ = true;
  }

  bool environment(bool begins) {
    if (!rest_.starts_with('{')) return false;
    const size_t end = rest_.find('}');
    if (end == std::string_view::npos) return false;
    const std::string_view name = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    const bool matrix = name.ends_with("matrix") || name == "array";
    if (!matrix) {
      blank_ = true;
      return name == "aligned" || name == "align*" || name == "align" || name == "equation" ||
             name == "equation*";
    }
    if (name == "array" && begins && rest_.starts_with('{')) {
      const size_t columns = closing_brace(rest_, 0);
      if (columns == std::string_view::npos) return false;
      rest_.remove_prefix(columns);
    }
    matrices_ += begins ? 1 : -1;
    depth_ += begins ? 1 : -1;
    push(TokenKind::sign, begins ? "matrix" : "endmatrix");
    return true;
  }

  // Reads \text{...}: a word, a unit, or "and". A number or a letter in it stands for itself.
  bool text_argument() {
    while (!rest_.empty() && is_blank(rest_[0])) rest_.remove_prefix(1);
    if (!rest_.starts_with('{')) {
      blank_ = true;
      return true;
    }
    const size_t end = closing_brace(rest_, 0);
    if (end == std::string_view::npos) return false;
    std::string inside;
    for (const char c : trim(rest_.substr(1, end - 2))) inside += c == '~' ? ' ' : c;
    const std::string_view word = trim(inside);
    rest_.remove_prefix(end);
    if (word.empty()) {
      blank_ = true;
    } else if (word == "and" || word == "or" || word == ", and" || word == "and ") {
      sign(word.starts_with(',') ? "and" : word);
    } else if (is_digit(word[0]) || word[0] == '-' || word[0] == '.') {
      Lexer inner(word);
      if (!inner.run()) return false;
      for (Token& token : inner.out_) out_.push_back(std::move(token));
    } else if (word == "i" || word == "e") {
      push(TokenKind::symbol, word);
    } else {
      push(TokenKind::text, word);
    }
    return true;
  }

  bool unicode() {
    if (rest_.starts_with("π")) {
      rest_.remove_prefix(2);
      push(TokenKind::symbol, "π");
      return true;
    }
    for (const Spelling& spelling : kUnicode) {
      if (!rest_.starts_with(spelling.text)) continue;
      rest_.remove_prefix(spelling.text.size());
      if (spelling.sign.starts_with('^')) {
        sign("^");
        push_number(Fraction(spelling.sign[1] - '0'), std::string(spelling.sign.substr(1)));
      } else if (spelling.sign.size() == 3 && spelling.sign[1] == '/') {
        push_number(Fraction(Integer(spelling.sign[0] - '0'), Integer(spelling.sign[2] - '0')),
                    std::string(spelling.sign));
      } else {
        sign(spelling.sign);
      }
      return true;
    }
    return false;
  }

  bool ascii(char c) {
    const std::string_view two = rest_.substr(0, 2);
    for (const auto& [text, meaning] :
         {Spelling{"<=", "<="}, {">=", ">="}, {"!=", "!="}, {"**", "^"}, {"==", "="}}) {
      if (two != text) continue;
      rest_.remove_prefix(2);
      sign(meaning);
      return true;
    }
    if (std::string_view("+-*/^_!%=<>,;:|()[]{}&").find(c) == std::string_view::npos && c != '$' &&
        c != '.' && c != '\'')
      return false;
    rest_.remove_prefix(1);
    if (c == '.') {  // a full stop: at the end, or before a blank, $ or }
      blank_ = true;
      return rest_.empty() || is_blank(rest_[0]) || rest_[0] == '$' || rest_[0] == '}';
    }
    if (c == '\'') {
      if (out_.empty() || out_.back().kind != TokenKind::symbol) return false;
      out_.back().text += c;
      return true;
    }
    if (c == '&' && matrices_ == 0) {
      blank_ = true;
      return true;
    }
    sign({&c, 1});
    return true;
  }

  std::string_view rest_;
  std::vector<Token> out_;
  bool blank_ = false;
  int depth_ = 0;
  int matrices_ = 0;
};

}  // namespace

std::optional<std::vector<Token>> tokens_of(std::string_view text) {
  if (text.size() > kMaxNotationBytes) return std::nullopt;
  Lexer lexer(text);
  if (!lexer.run()) return std::nullopt;
  return lexer.take();
}

}  // namespace r1::math
