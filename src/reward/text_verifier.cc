#include "reward/text_verifier.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>

#include "base/error.h"
#include "formats/json.h"
#include "reward/free_answer.h"
#include "reward/number.h"
#include "text/utf8.h"

namespace r1 {
namespace {

std::string compatible_form(std::string_view text, bool fold_case) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = fold_case ? icu::Normalizer2::getNFKCCasefoldInstance(status)
                                           : icu::Normalizer2::getNFKCInstance(status);
  std::string out;
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    form->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                        status);
  }
  if (U_FAILURE(status)) throw Error(fmt::format("ICU cannot normalise the text: {}", u_errorName(status)));
  return out;
}

bool is_space(char32_t c) {
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_punctuation(char32_t c) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0;
}

// Returns true for characters that people write around an answer. Brackets and signs are not among them: [1,
// 2) is not (1, 2].
bool is_decoration(char32_t c) {
  constexpr std::u32string_view kAround = U".,;:!?'\"`*_\u00A1\u00BF\u3001\u3002";
  const uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(c));
  return kAround.find(c) != std::u32string_view::npos || (mask & (U_GC_PI_MASK | U_GC_PF_MASK)) != 0;
}

std::u32string characters_of(std::string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = decode_utf8(text, at);
    out.push_back(step.code);
    at += static_cast<size_t>(step.size);
  }
  return out;
}

template <class Drop>
std::u32string_view without_ends(std::u32string_view text, Drop drop) {
  while (!text.empty() && drop(text.front())) text.remove_prefix(1);
  while (!text.empty() && drop(text.back())) text.remove_suffix(1);
  return text;
}

TextPolicy read_policy(const Json& gold) {
  TextPolicy policy;
  const auto choose = [&](const Json& value, std::initializer_list<std::string_view> names) {
    const auto at = std::ranges::find(names, value.string());
    if (at == names.end())
      value.fail(fmt::format("is \"{}\"; it must be one of {}", value.string(), fmt::join(names, ", ")));
    return at - names.begin();
  };
  for (const auto& [key, value] : gold.members()) {
    if (key == "case") {
      policy.letters = static_cast<TextPolicy::Case>(choose(value, {"ignore", "exact"}));
    } else if (key == "space") {
      policy.space = static_cast<TextPolicy::Space>(choose(value, {"collapse", "ignore", "exact"}));
    } else if (key == "punctuation") {
      policy.punctuation = static_cast<TextPolicy::Punctuation>(choose(value, {"ends", "ignore", "exact"}));
    } else if (key != "text") {
      value.fail("is not a field of a text gold; text, case, space and punctuation are");
    }
  }
  return policy;
}

}  // namespace

std::string compared_text(std::string_view text, const TextPolicy& policy) {
  const std::string form =
      compatible_form(replace_invalid_utf8(text), policy.letters == TextPolicy::Case::ignore);
  const std::u32string all = characters_of(form);
  std::u32string_view rest = without_ends(std::u32string_view(all), is_space);
  if (policy.punctuation == TextPolicy::Punctuation::ends)
    rest = without_ends(rest, [](char32_t c) { return is_space(c) || is_decoration(c); });
  std::string out;
  bool blank = false;  // a pending blank, which is written once a character follows
  for (const char32_t c : rest) {
    if (policy.punctuation == TextPolicy::Punctuation::ignore && is_punctuation(c)) continue;
    if (policy.space != TextPolicy::Space::exact && is_space(c)) {
      blank = policy.space == TextPolicy::Space::collapse;
      continue;
    }
    if (blank && !out.empty()) out += ' ';
    blank = false;
    append_utf8(out, c);
  }
  return out;
}

TextVerifier::TextVerifier(const Json& gold) {
  const Json* texts = &gold;
  if (gold.is_object()) {
    policy_ = read_policy(gold);
    texts = &gold.at("text");
  }
  const auto add = [&](const Json& text) {
    golds_.push_back(compared_text(gold_text(text), policy_));
    if (golds_.back().empty()) text.fail("has nothing to compare an answer with");
  };
  if (texts->is_array()) {
    for (const Json& text : texts->items()) add(text);
    if (golds_.empty()) texts->fail("has no text; at least one is needed");
  } else {
    add(*texts);
  }
}

Verdict TextVerifier::verify(std::string_view response) const {
  return judge_free_answer(response, [&](std::string_view answer) -> std::string {
    const std::string text = compared_text(answer, policy_);
    if (text.empty()) return "no_answer";
    return std::ranges::find(golds_, text) != golds_.end() ? "ok" : "wrong_text";
  });
}

}  // namespace r1
