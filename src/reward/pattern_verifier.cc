#include "reward/pattern_verifier.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "base/error.h"
#include "formats/json.h"
#include "reward/free_answer.h"
#include "reward/number.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// A thread's own state of a match; the compiled pattern is shared.
struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* limits = pcre2_match_context_create(nullptr);
  MatchState() {
    if (data == nullptr || limits == nullptr) throw Error("no memory for a match");
    pcre2_set_match_limit(limits, kMatchSteps);
    pcre2_set_depth_limit(limits, kMatchDepth);
    pcre2_set_heap_limit(limits, 64 * 1024);  // KiB
  }
  ~MatchState() {
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
};

struct PatternGold {
  std::string pattern;
  bool whole = true, ignore_case = false;
};

PatternGold read_pattern_gold(const Json& gold) {
  PatternGold out;
  if (!gold.is_object()) {
    out.pattern = gold_text(gold);
    return out;
  }
  const auto is_second = [](const Json& value, std::string_view first, std::string_view second) {
    if (value.string() != first && value.string() != second)
      value.fail(fmt::format("is \"{}\"; it must be {} or {}", value.string(), first, second));
    return value.string() == second;
  };
  out.pattern = gold.get_string("pattern");
  for (const auto& [key, value] : gold.members()) {
    if (key == "match") {
      out.whole = !is_second(value, "whole", "search");
    } else if (key == "case") {
      out.ignore_case = is_second(value, "exact", "ignore");
    } else if (key != "pattern") {
      value.fail("is not a field of a regex gold; pattern, match and case are");
    }
  }
  return out;
}

}  // namespace

struct PatternVerifier::Code {
  pcre2_code* pcre = nullptr;
  uint32_t match_options = 0;

  explicit Code(const PatternGold& gold) {
    if (gold.pattern.empty()) throw Error("the pattern is empty");
    if (gold.pattern.size() > kMaxPatternBytes)
      throw Error(fmt::format("the pattern has {} bytes; it must have at most {}", gold.pattern.size(),
                              kMaxPatternBytes));
    match_options = PCRE2_NO_UTF_CHECK | (gold.whole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0);
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    if (context == nullptr) throw Error("no memory for a pattern");
    pcre2_set_parens_nest_limit(context, 64);
    int error = 0;
    PCRE2_SIZE offset = 0;
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C |
                             (gold.ignore_case ? static_cast<uint32_t>(PCRE2_CASELESS) : 0);
    pcre = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(gold.pattern.data()), gold.pattern.size(), options,
                         &error, &offset, context);
    pcre2_compile_context_free(context);
    if (pcre != nullptr) return;
    PCRE2_UCHAR text[256];
    const bool known = pcre2_get_error_message(error, text, sizeof text) >= 0;
    throw Error(fmt::format("the pattern cannot be read: {} at offset {}",
                            known ? reinterpret_cast<const char*>(text) : "an error", offset));
  }
  ~Code() { pcre2_code_free(pcre); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  std::string judge(std::string_view answer) const {
    thread_local const MatchState state;
    const std::string text = replace_invalid_utf8(answer);
    const int code = pcre2_match(pcre, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                                 match_options, state.data, state.limits);
    if (code >= 0) return "ok";
    return code == PCRE2_ERROR_NOMATCH ? "no_match" : "pattern_gave_up";
  }
};

PatternVerifier::PatternVerifier(const Json& gold) {
  const PatternGold read = read_pattern_gold(gold);
  try {
    code_ = std::make_shared<const Code>(read);
  } catch (const Error& e) {
    throw Error(gold.source().empty() ? std::string(e.what())
                                      : fmt::format("{}: {}", gold.source(), e.what()));
  }
}

Verdict PatternVerifier::verify(std::string_view response) const {
  return judge_free_answer(response, [&](std::string_view answer) { return code_->judge(answer); });
}

}  // namespace r1
