#include "data/countdown_question.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"
#include "data/expression_tree.h"

namespace r1 {
namespace {

struct Phrasing {
  std::string_view form;  // $N the numbers, $T the target
  std::string_view separator;
  std::string_view last_separator;
};

constexpr std::array<Phrasing, kPhrasings> kForms{{
    {"Make $T from $N.", ", ", " and "},
    {"Using $N reach $T", ", ", ", "},
    {"How can I get $T with $N?", " ", " "},
    {"numbers: $N, target: $T", " ", " "},
    {"make $T from $N", " ", " "},
    {"Use the numbers $N to make $T.", ", ", " and "},
    {"target $T, numbers $N", ",", ","},
    {"Can you make $T out of $N?", ", ", " and "},
    {"$N -> $T", " ", " "},
    {"$T = ? with $N", ", ", ", "},
    {"Combine $N to get $T.", ", ", ", and "},
    {"i have $N and want $T", ",", ","},
    {"Find an expression that equals $T using each of $N exactly once.", ", ", ", "},
    {"With $N, how do you reach $T?", " and ", " and "},
    {"get $T using $N", ", ", ", "},
    {"Countdown: [$N] to $T", ", ", ", "},
    {"Which sum with $N gives $T?", ", ", " and "},
    {"$N make $T", ", ", ", "},
    {"The target is $T and the numbers are $N.", ", ", " and "},
    {"$T from $N please", " ", " "},
    {"GOAL $T NUMBERS $N", " ", " "},
    {"Please write $T with the numbers $N, each used once.", ", ", ", and "},
    {"$N: make $T!", " ", " "},
    {"What equation built from $N equals $T?", "; ", "; "},
}};

// ---- reading ----

enum class Kind { word, integer, sign };

struct Token {
  Kind kind;
  std::string text;  // words in lower case; signs byte by byte, but for the arrows
  int64_t value = 0;
  bool negative = false;
};

bool is_word_byte(char c) {
  return is_letter(c) || c == '\'' || c == '_';
}

// Cuts the text into tokens; false if it holds a number that is not read.
bool tokenize(std::string_view text, std::vector<Token>& tokens) {
  constexpr int64_t kMost = 999'999'999;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (is_blank(c)) {
      ++i;
      continue;
    }
    const size_t begin = i;
    if (is_word_byte(c) || is_digit(c)) {
      while (i < text.size() && (is_word_byte(text[i]) || is_digit(text[i]))) ++i;
      const std::string_view run = text.substr(begin, i - begin);
      if (!std::all_of(run.begin(), run.end(), is_digit)) {  // "make", but also the R1 in "R1, make ..."
        std::string word(run);
        for (char& letter : word) letter = to_lower(letter);
        tokens.push_back({.kind = Kind::word, .text = std::move(word)});
        continue;
      }
      const bool decimal = (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) ||
                           (begin > 0 && text[begin - 1] == '.');
      if (decimal || run.size() > 9 || (run.size() > 1 && run[0] == '0')) return false;
      int64_t value = 0;
      for (const char digit : run) value = value * 10 + (digit - '0');
      R1_CHECK(value <= kMost, value);
      const bool negative = begin > 0 && text[begin - 1] == '-' && (begin == 1 || is_blank(text[begin - 2]));
      if (negative) tokens.pop_back();
      tokens.push_back(
          {.kind = Kind::integer, .text = "", .value = negative ? -value : value, .negative = negative});
    } else if (text.substr(i, 3) == "→") {
      tokens.push_back({.kind = Kind::sign, .text = "->"});
      i += 3;
    } else if (text.substr(i, 2) == "->" || text.substr(i, 2) == "=>") {
      tokens.push_back({.kind = Kind::sign, .text = "->"});
      i += 2;
    } else {
      tokens.push_back({.kind = Kind::sign, .text = std::string(1, c)});
      ++i;
    }
  }
  return true;
}

template <size_t N>
bool one_of(const Token& token, const std::array<std::string_view, N>& words) {
  return token.kind != Kind::integer && std::find(words.begin(), words.end(), token.text) != words.end();
}

constexpr auto kCuesBefore = std::to_array<std::string_view>(
    {"make",   "makes",  "making",  "reach",   "reaches",  "get",    "gets",   "getting", "give",  "gives",
     "target", "goal",   "total",   "equal",   "equals",   "result", "obtain", "hit",     "want",  "need",
     "yield",  "yields", "produce", "becomes", "become",   "build",  "create", "form",    "write", "achieve",
     "find",   "into",   "to",      "for",     "reaching", "sum",    "value",  "answer",  "solve", "wanted",
     "=",      "->",     "arrive",  "end",     "express",  "compute"});
constexpr auto kCuesAfter =
    std::to_array<std::string_view>({"from", "using", "with", "out", "by", "=", "via", "given"});
// Words that may stand between cue and target: "the target number is 24", "a total of 24", "equal to 24".
constexpr auto kFillers = std::to_array<std::string_view>(
    {"the", "number", "of", "is", ":", "to", "exactly", "a", "an", "at", "be", "up", "should", "must", "me"});
constexpr std::array<std::string_view, 7> kSeparators{",", ";", "and", "&", "/", "|", "then"};
constexpr auto kCounted = std::to_array<std::string_view>(
    {"numbers", "number", "times", "time", "operations", "steps", "ways", "digits", "integers"});

bool has_cue_before(const std::vector<Token>& tokens, size_t at) {
  for (size_t back = 1; back <= 4 && back <= at; ++back) {
    const Token& token = tokens[at - back];
    if (one_of(token, kCuesBefore)) return true;
    if (!one_of(token, kFillers)) return false;
  }
  return false;
}

bool has_cue(const std::vector<Token>& tokens, size_t at) {
  return has_cue_before(tokens, at) || (at + 1 < tokens.size() && one_of(tokens[at + 1], kCuesAfter));
}

struct Run {
  std::vector<size_t> at;  // the integers' tokens
  bool comma_after_first = false;
};

// Lists of integers with only separators between them. A count ("use 3 numbers") is not an integer of the
// problem.
std::vector<Run> find_runs(const std::vector<Token>& tokens) {
  std::vector<Run> runs;
  bool open = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind != Kind::integer) {
      open = open && one_of(tokens[i], kSeparators);
      continue;
    }
    const bool count =
        i + 1 < tokens.size() && one_of(tokens[i + 1], kCounted) && !has_cue_before(tokens, i) && !open;
    if (count) continue;
    if (!open) runs.emplace_back();
    Run& run = runs.back();
    if (run.at.size() == 1)
      run.comma_after_first = tokens[i - 1].kind == Kind::sign && tokens[i - 1].text == ",";
    run.at.push_back(i);
    open = true;
  }
  return runs;
}

}  // namespace

std::string ask(const CountdownProblem& problem, int phrasing) {
  R1_CHECK(phrasing >= 0 && phrasing < kPhrasings, "phrasing ", phrasing);
  const Phrasing& chosen = kForms[static_cast<size_t>(phrasing)];
  std::string list;
  for (size_t i = 0; i < problem.numbers.size(); ++i) {
    if (i > 0) list += i + 1 == problem.numbers.size() ? chosen.last_separator : chosen.separator;
    list += std::to_string(problem.numbers[i]);
  }
  std::string out;
  for (size_t i = 0; i < chosen.form.size(); ++i) {
    if (chosen.form[i] != '$') {
      out += chosen.form[i];
    } else {
      out += chosen.form[++i] == 'N' ? list : std::to_string(problem.target);
    }
  }
  return out;
}

std::optional<CountdownProblem> parse_question(std::string_view question) {
  std::vector<Token> tokens;
  if (question.size() > 2000 || !tokenize(question, tokens)) return std::nullopt;
  std::vector<Run> runs = find_runs(tokens);
  const Run* list = nullptr;
  std::vector<size_t> lone;
  for (const Run& run : runs) {
    if (run.at.size() == 1) {
      lone.push_back(run.at[0]);
    } else if (list != nullptr) {
      return std::nullopt;
    } else {
      list = &run;
    }
  }
  if (list == nullptr) return std::nullopt;
  std::vector<size_t> numbers = list->at;
  size_t target = 0;
  if (lone.empty()) {  // "make 24, 3 5 7"
    if (numbers.size() < 3 || !list->comma_after_first || !has_cue_before(tokens, numbers[0]))
      return std::nullopt;
    target = numbers[0];
    numbers.erase(numbers.begin());
  } else {
    const bool bare =
        std::none_of(tokens.begin(), tokens.end(), [](const Token& t) { return t.kind == Kind::word; });
    if (!(bare && lone.size() == 1)) {
      std::erase_if(lone, [&](size_t at) { return !has_cue(tokens, at); });
    }
    if (lone.size() != 1) return std::nullopt;
    target = lone[0];
  }
  if (numbers.size() < 2 || numbers.size() > kMaxCountdownNumbers) return std::nullopt;
  CountdownProblem problem{.numbers = {}, .target = tokens[target].value};
  for (const size_t at : numbers) {
    if (tokens[at].value < 0 || tokens[at].negative || tokens[at].value > 9999) return std::nullopt;
    problem.numbers.push_back(static_cast<int>(tokens[at].value));
  }
  return problem;
}

}  // namespace r1
