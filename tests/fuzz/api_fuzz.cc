// Any body of a request is read or refused with one line, and whatever is read makes a prompt, and a grammar if it
// demands a form, or an error of one line. The first byte says which route the body is for.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "engine/model_bundle.h"
#include "model/gguf_config.h"
#include "server/api_error.h"
#include "server/api_request.h"
#include "server/messages_error.h"
#include "server/messages_request.h"
#include "server/prompt_builder.h"
#include "server/text_routes.h"

namespace {

// A tiny model beside r1-nano's tokenizer and template. The fuzzer is run from the source tree.
const r1::ModelBundle& bundle() {
  static const r1::ModelBundle one = [] {
    const std::filesystem::path nano = "models/r1-nano";
    r1::ModelConfig config = r1::load_model_config(nano);
    config.layers = 1;
    return r1::ModelBundle::create(r1::Model::create(config, 1), nano);
  }();
  return one;
}

r1::Serving& serving() {
  static r1::Serving one(bundle(), "r1-nano", "cpu-f32", 1024, [](const std::string&) {});
  return one;
}

void make(const r1::ApiRequest& request, const r1::RequestDefaults& defaults) {
  const auto limit = r1::thought_limit(request, 100);
  R1_CHECK(!limit || (*limit >= 0 && *limit < 100), "a thought without room for an answer");
  const r1::BuiltPrompt prompt = serving().builder.chat(request, limit == 0, request.effort.has_value());
  for (const int32_t id : prompt.tokens) R1_CHECK(id >= 0 && id < defaults.vocab_size, id);
}

void compile(const r1::ApiRequest& request) {
  if (!request.is_structured()) return;
  const r1::ToolSyntax& syntax = serving().builder.tools().syntax();
  const auto grammar =
      serving().grammars.make(r1::AnswerGrammars::key_of(request.structure, request.tools, syntax),
                              request.structure, request.tools, syntax);
  const auto& shortest = grammar->shortest.text;
  if (!shortest) return;
  r1::GrammarState state(grammar->masks->grammar());
  R1_CHECK(state.accept(*shortest) && state.is_complete(),
           "a shortest text that the grammar refuses: ", *shortest);
}

void read(uint8_t route, const r1::Json& body) {
  const r1::RequestDefaults defaults{.sampling = {}, .vocab_size = bundle().model.config().vocab_size};
  switch (route % 7) {
    case 0: {
      const r1::ApiRequest request = r1::read_chat_request(body, defaults);
      compile(request);
      make(request, defaults);
      return;
    }
    case 1: {
      const r1::ApiRequest request = r1::read_completion_request(body, defaults);
      compile(request);
      for (const auto& prompt : request.prompts) serving().builder.raw(prompt);
      return;
    }
    case 2:
      r1::tokenize_route(serving(), body);
      return;
    case 3:
      r1::detokenize_route(serving(), body);
      return;
    case 4: {
      const r1::ApiRequest request = r1::read_messages_request(body, defaults);
      compile(request);
      make(request, defaults);
      return;
    }
    case 5:
      r1::count_route(serving(), body);
      return;
    default:
      r1::template_route(serving(), body);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    read(data[0], r1::parse_json({reinterpret_cast<const char*>(data + 1), size - 1}, r1::kRequestSource));
  } catch (const r1::Error& e) {
    const r1::ApiError error = r1::api_error_of(e);
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    r1::parse_json(r1::error_json(error), "error");
    r1::messages_error(error).dump();
  }
  return 0;
}
