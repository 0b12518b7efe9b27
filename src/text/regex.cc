#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "base/error.h"
#include "text/utf8.h"

namespace r1 {
namespace {

constexpr size_t kMaxPattern = 64 * 1024;  // bytes; the longest published pattern has about 700
// The limit on the steps of one match. Ordinary patterns walk a piece a few times, so 64 steps per byte are
// ample. A hostile pattern ends after about one more millisecond.
constexpr uint32_t kBaseSteps = 100'000;
constexpr size_t kStepsPerByte = 64;
constexpr size_t kJitStackBytes = 1 << 20;

// The matching state of one thread. PCRE2's compiled codes are shared.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
  Scratch() {
    R1_CHECK(data != nullptr && context != nullptr && stack != nullptr, "no memory for PCRE2");
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_heap_limit(context, 64 * 1024);  // KiB, used if there is no JIT
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

std::string pcre2_reason(int code) {
  PCRE2_UCHAR text[256];
  const int length = pcre2_get_error_message(code, text, sizeof text);
  return length < 0 ? fmt::format("error {}", code) : reinterpret_cast<const char*>(text);
}

}  // namespace

struct Regex::Code {
  pcre2_code* pcre = nullptr;
  bool jit = false;
  explicit Code(std::string_view pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    R1_CHECK(context != nullptr, "no memory for PCRE2");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, 64);
    // Ruby's ^ and $ match at every line; \C would split characters.
    pcre = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                         context);
    pcre2_compile_context_free(context);
    if (pcre == nullptr) {
      throw Error(fmt::format("{} at offset {} of the translated pattern", pcre2_reason(error), offset));
    }
    jit = pcre2_jit_compile(pcre, PCRE2_JIT_COMPLETE) == 0;
  }
  ~Code() { pcre2_code_free(pcre); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Regex::Regex(std::string_view pattern) {
  if (pattern.size() > kMaxPattern) {
    throw Error(
        fmt::format("the pattern has {} bytes, at most {} are accepted", pattern.size(), kMaxPattern));
  }
  code_ = std::make_shared<const Code>(translate(pattern));
}

void Regex::find_all(std::string_view text, std::vector<TextRange>& matches) const {
  Scratch& scratch = thread_scratch();
  const size_t steps = std::min<size_t>(kBaseSteps + kStepsPerByte * text.size(), UINT32_MAX);
  pcre2_set_match_limit(scratch.context, static_cast<uint32_t>(steps));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(scratch.data);
  size_t last_end = SIZE_MAX;
  for (size_t at = 0; at <= text.size();) {
    const int code =
        code_->jit ? pcre2_jit_match(code_->pcre, subject, text.size(), at, 0, scratch.data, scratch.context)
                   : pcre2_match(code_->pcre, subject, text.size(), at, PCRE2_NO_UTF_CHECK, scratch.data,
                                 scratch.context);
    if (code == PCRE2_ERROR_NOMATCH) return;
    if (code < 0) {
      throw Error(fmt::format("the pre-tokenizer's pattern gave up on {} bytes of text: {}", text.size(),
                              pcre2_reason(code)));
    }
    const size_t begin = found[0];
    const size_t end = found[1];
    R1_CHECK(at <= begin && begin <= end && end <= text.size(), at, " ", begin, " ", end, " ", text.size());
    if (begin == end && end == last_end) {
      at += at < text.size() ? decode_utf8(text, at).size : 1;
      continue;
    }
    matches.push_back({begin, end});
    at = last_end = end;
  }
}

}  // namespace r1
