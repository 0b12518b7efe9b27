// reward/verdict.h: a verifier's result for a response.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace r1 {

// scored: the answer was read and judged. refused: the verifier looked and found no answer that it can read;
// the sample is wrong. verifier_failed: the verifier itself failed, so nothing is known about the sample.
enum class SampleStatus : uint8_t { scored, refused, verifier_failed };
constexpr std::string_view name_of(SampleStatus status) {
  return status == SampleStatus::scored    ? "scored"
         : status == SampleStatus::refused ? "refused"
                                           : "verifier_failed";
}

struct Verdict {
  bool correct = false;      // the whole response deserves the accuracy reward, whatever its format
  bool well_formed = false;  // the format is right: tags as in response.h, whatever the answer
  std::string why;           // "ok", or one short machine-readable reason
  SampleStatus status = SampleStatus::scored;  // set by Verifier, judge and verify_answer
};

}  // namespace r1
