#include "reward/math/math_verifier.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"
#include "formats/json.h"
#include "reward/answer_text.h"
#include "reward/calendar.h"
#include "reward/math/compare.h"
#include "reward/math/extract.h"
#include "reward/math/notation.h"

namespace r1 {
namespace {

using math::Node;

// Replaces \\ before a letter, [ or ( by one backslash, as doubly escaped files need. In matrices \\ ends a
// row and is kept.
std::string unescaped(std::string_view text) {
  std::string out(text);
  if (out.find("\\begin") != std::string::npos || out.find("\\\\") == std::string::npos) return out;
  for (size_t at = 0; (at = out.find("\\\\", at)) != std::string::npos; ++at) {
    const bool command =
        at + 2 < out.size() && (is_letter(out[at + 2]) || out[at + 2] == '[' || out[at + 2] == '(');
    if (command) out.erase(at, 1);
  }
  return out;
}

struct Read {
  std::string text;  // as it is written, without wrappers
  std::optional<Node> node;
  std::optional<Date> date;
};

Read read_answer(std::string_view text) {
  Read out;
  std::string_view inside = unwrapped(text);
  while (inside.ends_with('.') && !inside.ends_with(".."))
    inside = unwrapped(inside.substr(0, inside.size() - 1));
  out.text = inside;
  out.node = math::parse_notation(inside);
  if (inside.size() < 40) out.date = read_date(inside);
  return out;
}

// Returns a choice that stands alone: C, (C), \text{(C)}.
char lone_choice(std::string_view text) {
  text = unwrapped(text);
  if (text.starts_with('(') && text.ends_with(')')) text = text.substr(1, text.size() - 2);
  while (text.ends_with('.') || text.ends_with(')')) text.remove_suffix(1);
  text = unwrapped(text);
  return text.size() == 1 && text[0] >= 'A' && text[0] <= 'J' ? text[0] : '\0';
}

// Returns the text behind an article, or nothing if there is no article.
std::string_view without_article(std::string_view text) {
  text = trim(text);
  for (const std::string_view article : {"an ", "a ", "the "}) {
    const std::string_view rest = text.substr(std::min(article.size(), text.size()));
    if (!rest.empty() && is_letter(rest[0]) && equal_ignoring_case(text.substr(0, article.size()), article))
      return rest;
  }
  return {};
}

// Returns the texts to read an answer from: first the whole text, if it is a short line without a tag, box,
// #### or phrase, then the candidates.
std::vector<std::string> readings_of(std::string_view text, const MathOptions& options) {
  text = math::behind_thought(text);
  if (text.size() > math::kMaxFreeTextBytes) text.remove_prefix(text.size() - math::kMaxFreeTextBytes);
  const std::string plain = unescaped(text);
  std::vector<std::string> out;
  const math::ExtractOptions extract{options.latex, options.numbers};
  const std::vector<math::Candidate> candidates = math::candidates_of(plain, extract);
  constexpr size_t kShort = 300;  // the most bytes of a bare answer
  const bool marked = !candidates.empty() && candidates.front().source < math::Source::math;
  const std::string_view bare = trim(plain);
  if (!marked && bare.size() <= kShort && bare.find('\n') == std::string_view::npos) out.emplace_back(bare);
  for (const math::Candidate& candidate : candidates) out.push_back(candidate.text);
  return out;
}

// Returns true for words without mathematics, whose signs words_of would drop.
bool is_words(std::string_view text) {
  return text.find_first_of("0123456789\\^_=+*/<>") == std::string_view::npos && !text.starts_with('-');
}

// A gold is the answer itself, unless it is a worked solution, whose final answer is then extracted.
Read read_gold(std::string_view gold) {
  Read whole = read_answer(unescaped(gold));
  if (whole.node || whole.date) return whole;
  constexpr size_t kLongest = 120;  // the most bytes of an answer in words; a longer text is a solution
  for (const math::Candidate& candidate : math::candidates_of(unescaped(gold))) {
    if (candidate.source == math::Source::number && gold.size() <= kLongest) break;
    Read read = read_answer(candidate.text);
    if (read.node || read.date) return read;
  }
  return whole;
}

}  // namespace

struct MathVerifier::Gold {
  Read read;
  std::string form;   // the spelling_form of the gold
  std::string words;  // the words_of the gold, if it is not notation
  char choice = '\0';
};

MathOptions read_math_options(const Json& options) {
  MathOptions out;
  for (const auto& [key, value] : options.members()) {
    if (key == "match_types" || key == "match_type") {
      out.latex = out.numbers = out.choices = false;
      for (const Json& type : value.items()) {
        const std::string& name = type.string();
        if (name == "latex")
          out.latex = true;
        else if (name == "expr")
          out.numbers = true;
        else if (name == "NativeLetters")
          out.choices = true;
        else
          type.fail("is none of latex, expr, NativeLetters");
      }
    } else if (key == "precision") {
      out.decimals = static_cast<int>(value.integer());
      if (value.integer() < 0 || value.integer() > 15)
        value.fail(fmt::format("is {}; it must be between 0 and 15", value.integer()));
    } else if (key == "percent") {
      if (value.string() != "unit" && value.string() != "value") value.fail("is neither unit nor value");
      out.percent_is_a_unit = value.string() == "unit";
    } else if (key != "language") {
      value.fail("is no option: numbers, match_types, precision, percent and language are");
    }
  }
  return out;
}

MathVerifier::MathVerifier(std::string_view gold, const MathOptions& options) : options_(options) {
  if (trim(gold).empty()) throw Error("the gold is empty");
  if (gold.size() > kMaxGoldBytes)
    throw Error(fmt::format("the gold has {} bytes; at most {} are read", gold.size(), kMaxGoldBytes));
  auto out = std::make_unique<Gold>();
  if (options.choices) {
    out->choice = math::choice_of(gold);
    if (out->choice == '\0')
      throw Error(fmt::format("the gold \"{}\" names no choice from A to J", gold.substr(0, 80)));
  } else {
    out->choice = lone_choice(gold);
  }
  out->read = read_gold(gold);
  out->form = spelling_form(out->read.text);
  if (!out->read.node && is_words(out->read.text)) out->words = math::words_of(out->read.text);
  gold_ = std::move(out);
}

MathVerifier::~MathVerifier() = default;
MathVerifier::MathVerifier(MathVerifier&&) noexcept = default;

std::string MathVerifier::judge(std::string_view text) const {
  if (options_.choices) {
    const char choice = math::choice_of(text);
    if (choice == '\0') return "no_answer";
    return choice == gold_->choice ? "ok" : "wrong_value";
  }
  const std::string_view bare_text = trim(text);
  if (bare_text.size() <= 2 * gold_->form.size() + 64 && spelling_form(bare_text) == gold_->form) return "ok";
  std::string why = "no_answer";
  for (const std::string& reading : readings_of(text, options_)) {
    const std::string verdict = judge_reading(reading);
    if (verdict == "no_answer") continue;
    why = verdict;
    if (why == "not_readable") continue;
    // An article may be a letter, and a letter an article: "an answer", "a b c". The text without it may
    // match too.
    const std::string_view bare = without_article(reading);
    return why == "ok" || bare.empty() || judge_reading(bare) != "ok" ? why : "ok";
  }
  return why;
}

std::string MathVerifier::judge_reading(std::string_view reading) const {
  const Read answer = read_answer(reading);
  if (answer.text.empty()) return "no_answer";
  if (spelling_form(answer.text) == gold_->form) return "ok";
  if (gold_->choice != '\0') {
    if (const char choice = lone_choice(answer.text); choice != '\0')
      return choice == gold_->choice ? "ok" : "wrong_value";
    const bool prose = trim(answer.text).find(' ') != std::string_view::npos;
    const char choice = prose ? math::choice_of(answer.text) : '\0';
    if (choice != '\0') return choice == gold_->choice ? "ok" : "wrong_value";
  }
  if (gold_->read.date && answer.date) return *gold_->read.date == *answer.date ? "ok" : "wrong_value";
  if (answer.node && gold_->read.node) {
    return std::string(
        math::compare(*gold_->read.node, *answer.node, {options_.percent_is_a_unit, options_.decimals}));
  }
  if (!gold_->words.empty() && is_words(answer.text) && math::words_of(answer.text) == gold_->words)
    return "ok";
  return answer.node ? "wrong_kind" : "not_readable";
}

Verdict MathVerifier::verify(std::string_view text) const {
  Verdict verdict;
  verdict.why = judge(text);
  verdict.correct = verdict.why == "ok";
  verdict.well_formed = verdict.why != "no_answer" && verdict.why != "not_readable";
  return verdict;
}

}  // namespace r1
