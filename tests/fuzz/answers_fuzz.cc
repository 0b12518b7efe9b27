// Answers to the generated tasks: any bytes give a verdict, and every value that is read is in its range.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "data/date.h"
#include "formats/json.h"
#include "reward/answer_text.h"
#include "reward/calendar.h"
#include "reward/number.h"
#include "reward/verifier.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

struct Case {
  const char* task;
  r1::Json gold;
};

const Case* cases(size_t& count) {
  static const Case all[] = {
      {"arithmetic", r1::Json("-12")},
      {"equations", r1::parse_json(R"({"unknown":"x","value":"7/2"})", "gold")},
      {"base_conversion", r1::parse_json(R"({"base":16,"digits":"ff"})", "gold")},
      {"base_conversion", r1::parse_json(R"({"base":2,"digits":"101"})", "gold")},
      {"calendar", r1::parse_json(R"({"weekday":"Friday"})", "gold")},
      {"calendar", r1::parse_json(R"({"days":59})", "gold")},
      {"calendar", r1::parse_json(R"({"date":"2024-03-01"})", "gold")},
      {"knights_knaves", r1::parse_json(R"({"Ann":"knight","Bob":"knave"})", "gold")},
  };
  count = std::size(all);
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const r1::NumberText number = r1::read_number(text);
  require(number.ok() == number.why.empty());
  if (number.ok()) {
    require(number.value.den().sign() > 0);
    const std::string again = number.value.text();
    require(again.size() > r1::kMaxNumberBytes || r1::read_number(again).value == number.value);
  }
  const std::string_view inside = r1::unwrapped(text);
  require(inside.empty() ||
          (inside.data() >= text.data() && inside.data() + inside.size() <= text.data() + size));
  if (const auto boxed = r1::last_boxed(text)) {
    require(boxed->data() > text.data() && boxed->data() + boxed->size() < text.data() + size);
  }
  if (const auto date = r1::read_date(text)) {
    require(r1::is_date(*date));
    require(r1::read_date(r1::iso_text(*date)) == date);
    require(r1::date_of(r1::day_number(*date)) == *date);
  }

  // The text is used as a whole response, as the answer of a well-formed one, and in a box behind the
  // thought.
  const std::string wrapped = "<think></think><answer>" + std::string(text) + "</answer>";
  const std::string boxed = "<think></think>\\boxed{" + std::string(text) + "}";
  size_t count = 0;
  const Case* all = cases(count);
  for (size_t i = 0; i < count; ++i) {
    for (const std::string_view response : {text, std::string_view(wrapped), std::string_view(boxed)}) {
      const r1::Verdict verdict = r1::verify(all[i].task, all[i].gold, response);
      require(verdict.correct == (verdict.why == "ok"));
      require(!verdict.correct || verdict.well_formed || response.find("\\boxed") != std::string_view::npos ||
              response.find("\\fbox") != std::string_view::npos);
    }
  }
  return 0;
}
