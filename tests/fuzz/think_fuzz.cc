// The rule for <think> on any bytes: the streaming splitter with any cuts, the whole split, the span and the
// whole response all find the same thought and the same answer.
//
// The lowest bit of the first byte says whether the prompt opened the thought. Its other bits determine where
// the text is cut into pieces.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/ascii.h"
#include "reward/response.h"
#include "text/think.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool opened = data[0] % 2 == 1;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const r1::ThinkSplit whole = r1::split_think(text, opened);

  r1::ThinkSplitter splitter(opened);
  std::string thought, answer;
  const auto take = [&](const std::vector<r1::ThinkPart>& parts) {
    for (const r1::ThinkPart& part : parts) {
      require(!part.text.empty());
      (part.is_thought ? thought : answer) += part.text;
    }
  };
  uint32_t state = data[0];
  for (size_t at = 0; at < text.size();) {
    state = state * 1664525u + 1013904223u;
    const size_t piece = 1 + (state >> 24) % 9;
    take(splitter.feed(text.substr(at, piece)));
    at += piece;
  }
  take(splitter.flush());
  require(thought == whole.thought && answer == whole.answer);

  const auto span = r1::find_thought(text, opened);
  require(span.has_value() == whole.has_thought);
  if (span) {
    require(span->begin <= span->end && span->end <= text.size() && span->closed == whole.closed);
    require(r1::trim(text.substr(span->begin, span->end - span->begin)) == whole.thought);
  }

  // Adding the prompt's tag changes neither thought nor answer, and the tag can be removed again.
  const std::string_view opening = opened ? "<think>\n" : "";
  const std::string response = r1::whole_response(text, opening);
  const r1::ThinkSplit again = r1::split_think(response);
  require(again.thought == whole.thought && again.answer == whole.answer);
  // A thought that begins with a second tag is left out, because the tags cannot be told apart.
  if (!whole.thought.starts_with(r1::kThinkOpen)) {
    const r1::ThinkSplit rest = r1::split_think(r1::rest_of_response(response, opening), opened);
    require(rest.thought == whole.thought && rest.answer == whole.answer);
  }
  const std::string_view begun = r1::thought_opening(text);
  require(text.ends_with(begun) && (begun.empty() || r1::trim(begun) == r1::kThinkOpen));

  const r1::Response format = r1::read_response(response);
  require(format.well_formed() == format.why.empty());
  if (format.well_formed()) require(again.closed);
  return 0;
}
