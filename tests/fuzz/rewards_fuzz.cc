// Golds and answers of the verifiers text, regex and json, the terms that read text, and the answers of
// programs and endpoints: any bytes give a verdict, a number or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/http_url.h"
#include "formats/json.h"
#include "reward/language.h"
#include "reward/repetition.h"
#include "reward/scorer.h"
#include "reward/verifier.h"

// The bytes up to the first 0 are a gold, the rest is a response.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t zero = all.find('\0');
  const std::string gold(all.substr(0, zero));
  const std::string_view response = zero == std::string_view::npos ? "" : all.substr(zero + 1);
  for (const char* task : {"text", "regex", "json"}) {
    for (const bool as_json : {true, false}) {
      try {
        const r1::Verifier verifier(task, as_json ? r1::parse_json(gold, "gold") : r1::Json(gold));
        const r1::Verdict verdict = verifier.verify(response);
        R1_CHECK(verdict.correct == (verdict.why == "ok"), verdict.why);
        R1_CHECK(!verdict.correct || verdict.status == r1::SampleStatus::scored, verdict.why);
      } catch (const r1::Error&) {
      }
    }
  }
  const double repeated = r1::repetition_of(response, 1 + static_cast<int64_t>(gold.size() % 8));
  R1_CHECK(repeated >= 0 && repeated < 1, repeated);
  for (const char* language : {"en", "ja"}) {
    const double share = r1::language_consistency(response, language);
    R1_CHECK(share >= 0 && share <= 1, share);
  }
  try {
    (void)r1::parse_http_url(gold);
  } catch (const r1::Error&) {
  }
  try {
    (void)r1::read_score(r1::parse_json(gold, "answer"));
  } catch (const r1::Error&) {
  }
  return 0;
}
