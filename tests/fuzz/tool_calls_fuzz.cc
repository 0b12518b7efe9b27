// The calls that a reader finds in a text do not depend on how the text is cut. The first byte is the format,
// the second the size of the pieces.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "server/tool_syntax.h"

namespace {

std::string read(const r1::ToolSyntax& syntax, const std::string& text, size_t size) {
  r1::ToolCallReader reader(syntax);
  std::string said, calls;
  int64_t index = -1;
  const auto take = [&](const r1::ToolCallReader::Output& out) {
    said += out.text;
    for (const r1::ToolCallPart& part : out.calls) {
      if (part.begins) calls += "\n" + part.name + ":", ++index;
      R1_CHECK(part.index == index, "call ", part.index, " in place of ", index);
      calls += part.arguments;
    }
  };
  for (size_t at = 0; at < text.size(); at += size) {
    r1::ToolCallReader::Output out;
    reader.feed(text.substr(at, size), out);
    take(out);
  }
  r1::ToolCallReader::Output rest;
  reader.flush(rest);
  take(rest);
  R1_CHECK(reader.complete_calls() <= index + 1, reader.complete_calls(), " complete calls of ", index + 1);
  return said + calls + "\n" + std::to_string(reader.complete_calls());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const r1::ToolSyntax& syntax = r1::tool_syntax(static_cast<r1::ToolStyle>(data[0] % 3));
  const std::string text(reinterpret_cast<const char*>(data + 2), size - 2);
  const std::string whole = read(syntax, text, text.size() + 1);
  for (const size_t piece : {size_t{1}, size_t{data[1]} + 2}) {
    const std::string cut = read(syntax, text, piece);
    R1_CHECK(cut == whole, "pieces of ", piece, " make ", cut, " of what is ", whole);
  }
  return 0;
}
