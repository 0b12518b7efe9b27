// Rows of data: any JSON gives a record or a reason in one line, and a record's problem has a question and a
// gold.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "data/overlap.h"
#include "data/record.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)r1::marked_answer(text);
  r1::OverlapIndex index;
  index.add(text, 1);
  require(index.find(text).has_value() == !index.empty());
  static const r1::RecordMapping mapping("{{ question }}{{ a.b }}", "answer", "fuzz");
  for (const r1::RecordMapping& how : {r1::RecordMapping(), mapping}) {
    try {
      const r1::Record record = r1::read_record(r1::parse_json(text, "row"), how);
      require(!record.format.empty());
      require(record.messages.is_null() || record.messages.is_array());
      const r1::Problem problem = r1::problem_of(record);
      require(!problem.question.empty() && !problem.gold.empty());
    } catch (const r1::Error& error) {
      require(*error.what() != '\0');
    }
  }
  return 0;
}
