#include "text/normalizer.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include "base/error.h"

namespace r1 {

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
  if (!nfc_) return std::string(text);
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  std::string out;
  if (U_SUCCESS(status)) {
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    nfc->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                       status);
  }
  if (U_FAILURE(status)) throw Error(fmt::format("ICU cannot normalise the text: {}", u_errorName(status)));
  return out;
}

}  // namespace r1
