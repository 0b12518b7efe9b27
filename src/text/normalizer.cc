#include "text/normalizer.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>

#include "base/error.h"

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

}  // namespace

Normalizer::Normalizer(const Json& description) {
  if (description.is_null()) return;
  const std::string& type = description.get_string("type");
  if (type == "NFC") {
    nfc_ = true;
  } else if (type == "Sequence") {
    for (const Json& part : description.at("normalizers").items()) nfc_ |= Normalizer(part).nfc_;
  } else {
    description.at("type").fail(fmt::format("is {}, only NFC and Sequence are supported", type));
  }
}

std::string Normalizer::apply(std::string_view text) const {
  const auto is_ascii = [](char c) { return (c & 0x80) == 0; };
  if (!nfc_ || std::all_of(text.begin(), text.end(), is_ascii)) return std::string(text);
  static const NfcOfUnicode9 nfc;
  return nfc.apply(text);
}

}  // namespace r1
