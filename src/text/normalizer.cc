#include "text/normalizer.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>

#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// The tokenizers library normalises by Unicode 9: a newer character has neither a decomposition nor a
// combining class. ICU's tables are newer, so ICU is given only the characters of Unicode 9.
class NfcOfUnicode9 {
 public:
  NfcOfUnicode9() : old_(make_set()), nfc_(get_nfc(), old_) {}

  std::string apply(std::string_view text) const {
    UErrorCode status = U_ZERO_ERROR;
    std::string out;
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    nfc_.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                       status);
    check(status);
    return out;
  }

 private:
  static void check(UErrorCode status) {
    if (U_FAILURE(status)) throw Error(fmt::format("ICU cannot normalise the text: {}", u_errorName(status)));
  }
  static icu::UnicodeSet make_set() {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet set(icu::UnicodeString("[:age=9.0:]"), status);
    check(status);
    set.freeze();
    return set;
  }
  static const icu::Normalizer2& get_nfc() {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
    check(status);
    return *nfc;
  }

  icu::UnicodeSet old_;
  icu::FilteredNormalizer2 nfc_;
};

constexpr size_t kMaxNormalizerSteps = 64;
constexpr size_t kMaxNormalizerText = 1024;  // bytes of a text that is put in

const std::string& short_text(const Json& value) {
  if (value.string().size() > kMaxNormalizerText)
    value.fail(
        fmt::format("has {} bytes; at most {} are accepted", value.string().size(), kMaxNormalizerText));
  return value.string();
}

}  // namespace

Normalizer::Normalizer(const Json& description) {
  add(description, 0);
}

void Normalizer::add(const Json& description, int depth) {
  if (description.is_null()) return;
  if (depth > 8 || steps_.size() >= kMaxNormalizerSteps) description.fail("is too long or too deep");
  const std::string& type = description.get_string("type");
  if (type == "NFC") {
    steps_.push_back({Kind::nfc});
  } else if (type == "Prepend") {
    steps_.push_back({.kind = Kind::prepend, .content = short_text(description.at("prepend"))});
  } else if (type == "Replace") {
    const Json& pattern = description.at("pattern");
    if (pattern.contains("Regex"))
      pattern.at("Regex").fail("is a regular expression: only a pattern that is a String is supported here");
    const std::string& text = pattern.get_string("String");
    if (text.empty()) pattern.at("String").fail("is empty");
    steps_.push_back(
        {.kind = Kind::replace, .pattern = text, .content = short_text(description.at("content"))});
  } else if (type == "Sequence") {
    for (const Json& part : description.at("normalizers").items()) add(part, depth + 1);
  } else {
    description.at("type").fail(
        fmt::format("is {}, only NFC, Prepend, Replace and Sequence are supported", shown(type)));
  }
}

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  size_t at = 0;
  for (size_t next = text.find(pattern); next != std::string_view::npos; next = text.find(pattern, at)) {
    out.append(text, at, next - at).append(content);
    at = next + pattern.size();
  }
  return out.append(text.substr(at));
}

std::string Normalizer::apply(std::string_view text, bool continues) const {
  const auto is_ascii = [](char c) { return (c & 0x80) == 0; };
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::nfc:
        if (!std::all_of(out.begin(), out.end(), is_ascii)) {
          static const NfcOfUnicode9 nfc;
          out = nfc.apply(out);
        }
        break;
      case Kind::prepend:
        if (!out.empty() && !continues) out.insert(0, step.content);
        break;
      case Kind::replace:
        out = replace_all(out, step.pattern, step.content);
        // Replacing by longer texts again and again would let a small file fill the memory.
        if (out.size() > 64 * text.size() + 64 * kMaxNormalizerText)
          throw Error(fmt::format("the normalizer makes {} bytes of a text of {}", out.size(), text.size()));
        break;
    }
  }
  return out;
}

}  // namespace r1
