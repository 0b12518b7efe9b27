// Any text used as a chat template, with a small conversation that has every kind of message, is rendered or
// refused with one line, in little time and memory. The same holds for the renderings by which
// text/chat_form.h finds out what the template reads.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "text/chat_templates.h"

namespace {

const r1::ChatInput& conversation() {
  static const r1::ChatInput input = [] {
    r1::ChatInput all = r1::chat_input(r1::parse_json(R"({"messages": [
        {"role": "system", "content": "Be brief.", "n": [1, 2.5, null, true, 123456789012345678901234567890]},
        {"role": "user", "content": [{"type": "text", "text": "3+4?"}, {"type": "text", "text": "<b>\n"}]},
        {"role": "assistant", "content": null, "reasoning_content": "t", "tool_calls": [
          {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 3, \"b\": [4]}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        {"role": "assistant", "content": "<think>t</think>It is 7 \ud83d\ude42"}],
      "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
      "documents": [{"title": "d", "text": "x"}], "chat_template_kwargs": {"enable_thinking": false}})",
                                                      "fuzz"));
    all.bos_token = "<s>";
    all.eos_token = "</s>";
    all.now = 0;
    return all;
  }();
  return input;
}

template <class Action>
void one_line_or_none(const Action& action) {
  try {
    action();
  } catch (const r1::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  one_line_or_none([&] {
    const r1::ChatTemplates templates = r1::ChatTemplates::of(text, "fuzz");
    one_line_or_none([&] { templates.render(conversation()); });
    one_line_or_none([&] { templates.render_adapted(conversation()); });
  });
  return 0;
}
