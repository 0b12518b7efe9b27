#include "server/api_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "engine/sampling_config.h"
#include "engine/sampling_settings.h"
#include "formats/shown.h"
#include "server/api_error.h"
#include "server/request_fields.h"

namespace r1 {
namespace {

struct EffortShare {
  std::string_view name;
  double share;  // of the answer's tokens that the thought may have
};
constexpr std::array<EffortShare, 7> kEfforts = {{{"none", 0},
                                                  {"minimal", 0.1},
                                                  {"low", 0.2},
                                                  {"medium", 0.5},
                                                  {"high", 0.8},
                                                  {"xhigh", 0.9},
                                                  {"max", 1}}};

[[noreturn]] void not_supported(const Json& field, const char* name) {
  field.fail(fmt::format("is not supported yet: leave {} out", name));
}

int32_t read_token(const Json& item, int64_t vocab_size) {
  const int64_t id = item.integer();
  if (id < 0 || id >= vocab_size)
    item.fail(fmt::format("is {}; the model's token ids are 0 to {}", id, vocab_size - 1));
  return static_cast<int32_t>(id);
}

std::vector<int32_t> read_tokens(const Json& array, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (const Json& item : array.items()) ids.push_back(read_token(item, vocab_size));
  return ids;
}

// {"id": bias}, from -100 to 100.
void read_logit_bias(const Json& field, int64_t vocab_size, SamplingParams& sampling) {
  for (const auto& [name, value] : field.members()) {
    int64_t id = -1;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (problem != std::errc() || end != name.data() + name.size() || id < 0 || id >= vocab_size)
      field.fail(
          fmt::format("has the key {}; the model's token ids are 0 to {}", shown(name), vocab_size - 1));
    const double bias = value.number();
    if (!(bias >= -100 && bias <= 100))
      value.fail(fmt::format("is {}; it must be between -100 and 100", bias));
    sampling.sequence_bias.push_back(
        {.tokens = {static_cast<int32_t>(id)}, .bias = static_cast<float>(bias)});
  }
}

void add_stop(const Json& item, std::vector<std::string>& stop) {
  const std::string& text = item.string();
  if (text.empty()) item.fail("is empty; a stop string has at least one character");
  if (std::ssize(text) > kMostStopBytes)
    item.fail(fmt::format("has {} bytes; a stop string has at most {}", text.size(), kMostStopBytes));
  stop.push_back(text);
}

void read_limits(RequestFields& fields, ApiRequest& r) {
  // An echoed prompt can be all that is asked for.
  const bool may_be_none = !r.is_chat && fields.boolean("echo", false);
  r.max_tokens = fields.integer("max_tokens", may_be_none ? 0 : 1, kMostAnswerTokens);
  if (!r.is_chat) return;
  const auto newer = fields.integer("max_completion_tokens", 1, kMostAnswerTokens);
  if (newer && r.max_tokens && *newer != *r.max_tokens)
    fields.find("max_tokens")->fail("differs from max_completion_tokens: give one of the two");
  if (!newer) return;
  r.max_tokens = newer;
  r.limit_field = "max_completion_tokens";
}

void read_sampling_fields(RequestFields& fields, const Json& body, const RequestDefaults& defaults,
                          ApiRequest& r) {
  r.sampling = defaults.sampling;
  // The model's max_length bounds prompt and answer together; a request gives the number of new tokens.
  if (r.max_tokens) r.sampling.max_length = 0;
  read_sampling(body, defaults.vocab_size, r.sampling);
  for (const std::string& name : sampling_fields()) fields.know(name);
  if (const Json* bias = fields.find("logit_bias")) read_logit_bias(*bias, defaults.vocab_size, r.sampling);
  if (const Json* seed = fields.find("seed")) r.seed = static_cast<uint64_t>(seed->integer());
}

void read_stream(RequestFields& fields, ApiRequest& r) {
  r.stream = fields.boolean("stream", false);
  const Json* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!r.stream) options->fail("is only for \"stream\": true");
  RequestFields inner(*options);
  r.include_usage = inner.boolean("include_usage", false);
  inner.know("include_obfuscation");
  inner.know("continuous_usage_stats");
  for (const std::string& name : inner.unknown()) r.unknown_fields.push_back("stream_options." + name);
}

void read_chat_logprobs(RequestFields& fields, ApiRequest& r) {
  r.logprobs = fields.boolean("logprobs", false);
  const auto top = fields.integer("top_logprobs", 0, kMostLikeliest);
  if (top && *top > 0 && !r.logprobs) fields.find("top_logprobs")->fail("needs \"logprobs\": true");
  r.top_logprobs = top.value_or(0);
}

void read_thinking(RequestFields& fields, ApiRequest& r) {
  r.max_thinking_tokens = fields.integer("max_thinking_tokens", 0, kMostAnswerTokens);
  const Json* effort = fields.find("reasoning_effort");
  if (effort == nullptr) return;
  const auto known = std::ranges::find(kEfforts, effort->string(), &EffortShare::name);
  if (known == kEfforts.end())
    effort->fail(fmt::format("is {}; it must be none, minimal, low, medium, high, xhigh or max",
                             shown(effort->string())));
  r.effort = static_cast<Effort>(known - kEfforts.begin());
}

// Fields whose meaning would change the answer are refused, not ignored.
void refuse_unsupported(RequestFields& fields, ApiRequest& r) {
  const Json* functions = fields.find("functions");
  if (functions != nullptr && functions->size() > 0) functions->fail("is not supported: give tools instead");
  const Json* call = fields.find("function_call");
  if (call != nullptr && !(call->is_string() && (call->string() == "none" || call->string() == "auto")))
    call->fail("is not supported: give tool_choice instead");
  const Json* tools = r.is_chat ? nullptr : fields.find("tools");
  if (tools != nullptr && tools->size() > 0) tools->fail("is only for /v1/chat/completions and /v1/messages");
  const Json* best = fields.find("best_of");
  if (!r.is_chat && best != nullptr && best->integer() != r.n) not_supported(*best, "best_of");
  const Json* suffix = r.is_chat ? nullptr : fields.find("suffix");
  if (suffix != nullptr && !suffix->string().empty()) not_supported(*suffix, "suffix");
  for (const char* name : {"prompt_embeds", "use_beam_search", "prompt_logprobs"}) {
    const Json* field = fields.find(name);
    if (field != nullptr && !(field->is_bool() && !field->boolean())) not_supported(*field, name);
  }
}

// [{"id", "type": "function", "function": {"name", "arguments"}}]
void check_calls(const Json& calls) {
  for (const Json& call : calls.items()) {
    if (!call.is_object()) call.fail("is not a call: it must be an object");
    if (call.get_string_or("type", "function") != "function")
      call.at("type").fail("must be function: other tools are not supported");
    const Json& function = call.at("function");
    function.get_string("name");
    const Json& arguments = function.at("arguments");
    if (arguments.is_object()) continue;
    bool is_object = false;
    try {
      is_object = parse_json(arguments.string(), "arguments").is_object();
    } catch (const Error&) {
      is_object = false;
    }
    if (!is_object)
      arguments.fail("is no JSON object: the arguments of a call are an object, written as a string");
  }
}

void check_message(const Json& message) {
  if (!message.is_object()) message.fail("is not a message: it must be an object");
  const std::string& role = message.get_string("role");
  const Json* calls = message.find("tool_calls");
  if (calls != nullptr && !calls->is_null()) {
    if (role != "assistant") calls->fail("is only for messages of the assistant");
    check_calls(*calls);
  }
  const Json* content = message.find("content");
  if (content == nullptr) {
    if (!message.contains("tool_calls") && !message.contains("reasoning_content") &&
        !message.contains("reasoning"))
      message.fail("has no content");
    return;
  }
  if (!content->is_null() && !content->is_string() && !content->is_array())
    content->fail("must be a string or an array of parts");
  if (!content->is_array()) return;
  for (const Json& part : content->items()) {
    if (!part.is_object()) part.fail("is not a part: it must be an object");
    const std::string& type = part.get_string("type");
    if (type != "text" && type != "refusal")
      part.at("type").fail(fmt::format("is {}; this model reads text only", shown(type)));
    part.get_string(type);
  }
}

// The messages without fields that are null or have no calls, which clients send and templates stumble over,
// and with reasoning_content under its usual name.
Json with_usual_names(const Json& messages) {
  Json out = Json::array();
  for (const Json& message : messages.items()) {
    Json copy = Json::object();
    for (const auto& [name, value] : message.members()) {
      const bool is_empty = value.is_null() || (name == "tool_calls" && value.size() == 0);
      if (!is_empty || name == "content") copy.set(name, value);
    }
    const Json* alias = message.find("reasoning");
    if (alias != nullptr && !alias->is_null() && !message.contains("reasoning_content"))
      copy.set("reasoning_content", alias->string());
    out.push_back(std::move(copy));
  }
  return out;
}

void read_conversation(RequestFields& fields, const Json& body, ApiRequest& r) {
  const Json& messages = body.at("messages");
  fields.know("messages");
  for (const Json& message : messages.items()) check_message(message);
  r.chat = chat_input(body);
  r.chat.messages = with_usual_names(r.chat.messages);
  for (const char* name : kChatFields) fields.know(name);
  r.tools = read_tools(fields);
  const bool has_tools = fields.find("tools") != nullptr;  // otherwise they are the template's own variable
  if ((has_tools && !r.tools.may_call()) || (r.chat.tools.is_array() && r.chat.tools.size() == 0))
    r.chat.tools = {};
  r.continue_final_message = fields.boolean("continue_final_message", false);
  if (!r.continue_final_message) return;
  if (const Json* asks = fields.find("add_generation_prompt"); asks != nullptr && asks->boolean())
    asks->fail("cannot be true together with continue_final_message");
  const Json& last = messages.items().back();
  if (last.get_string("role") != "assistant")
    last.at("role").fail("must be \"assistant\" for continue_final_message");
}

ApiRequest::Prompt read_prompt(const Json& prompt, int64_t vocab_size) {
  if (prompt.is_string()) return prompt.string();
  return read_tokens(prompt, vocab_size);
}

void read_prompts(RequestFields& fields, const Json& body, int64_t vocab_size, ApiRequest& r) {
  const Json& prompt = body.at("prompt");
  fields.know("prompt");
  const bool is_list = prompt.is_array() && prompt.size() > 0 && !prompt.at(size_t{0}).is_number();
  if (!prompt.is_string() && !prompt.is_array())
    prompt.fail("must be a string, an array of strings, an array of token ids, or an array of such arrays");
  if (prompt.is_array() && prompt.size() == 0) prompt.fail("is empty");
  if (!is_list) {
    r.prompts.push_back(read_prompt(prompt, vocab_size));
    return;
  }
  if (std::ssize(prompt.items()) > kMostPrompts)
    prompt.fail(fmt::format("has {} prompts; at most {} are accepted", prompt.size(), kMostPrompts));
  for (const Json& item : prompt.items()) r.prompts.push_back(read_prompt(item, vocab_size));
}

void read_common(RequestFields& fields, const Json& body, const RequestDefaults& defaults, ApiRequest& r) {
  r.model = fields.text("model");
  r.n = fields.integer("n", 1, kMostChoices).value_or(1);
  read_limits(fields, r);
  read_stream(fields, r);
  read_sampling_fields(fields, body, defaults, r);
  if (const Json* stop = fields.find("stop")) read_stop(*stop, r.stop);
  if (const Json* ids = fields.find("stop_token_ids"))
    r.stop_token_ids = read_tokens(*ids, defaults.vocab_size);
  r.ignore_eos = fields.boolean("ignore_eos", false);
  r.detect_loops = fields.boolean("detect_loops", !r.ignore_eos);
  r.return_token_ids = fields.boolean("return_token_ids", false);
  r.structure = read_structure(fields);
}

void keep_unknown(const RequestFields& fields, ApiRequest& r) {
  for (std::string& name : fields.unknown()) r.unknown_fields.push_back(std::move(name));
}

}  // namespace

void read_stop(const Json& field, std::vector<std::string>& stop) {
  if (!field.is_array()) {
    if (!field.is_string()) field.fail("must be a string or an array of strings");
    return add_stop(field, stop);
  }
  if (std::ssize(field.items()) > kMostStopStrings)
    field.fail(fmt::format("has {} strings; at most {} are accepted", field.size(), kMostStopStrings));
  for (const Json& item : field.items()) add_stop(item, stop);
}

ApiRequest read_chat_request(const Json& body, const RequestDefaults& defaults) {
  RequestFields fields(body);
  ApiRequest r;
  r.is_chat = true;
  read_common(fields, body, defaults, r);
  read_chat_logprobs(fields, r);
  read_thinking(fields, r);
  refuse_unsupported(fields, r);
  read_conversation(fields, body, r);
  keep_unknown(fields, r);
  return r;
}

ApiRequest read_completion_request(const Json& body, const RequestDefaults& defaults) {
  RequestFields fields(body);
  ApiRequest r;
  read_common(fields, body, defaults, r);
  const auto top = fields.integer("logprobs", 0, kMostLikeliest);
  r.logprobs = top.has_value();
  r.top_logprobs = top.value_or(0);
  r.echo = fields.boolean("echo", false);
  if (r.echo && r.logprobs && r.stream)
    fields.find("stream")->fail("cannot be true together with echo and logprobs, which come as a whole");
  refuse_unsupported(fields, r);
  read_prompts(fields, body, defaults.vocab_size, r);
  keep_unknown(fields, r);
  return r;
}

std::optional<int64_t> thought_limit(const ApiRequest& request, int64_t max_tokens, int64_t answer_tokens) {
  if (!request.effort && !request.max_thinking_tokens && answer_tokens == 0) return std::nullopt;
  int64_t limit = max_tokens;
  if (request.effort) {
    const double share = kEfforts[static_cast<size_t>(*request.effort)].share;
    limit = static_cast<int64_t>(share * static_cast<double>(max_tokens));
    if (share > 0) limit = std::max<int64_t>(limit, 1);
  }
  if (request.max_thinking_tokens) limit = std::min(limit, *request.max_thinking_tokens);
  const int64_t room = std::max(std::clamp<int64_t>(max_tokens / 4, 1, 256), answer_tokens);
  return std::clamp<int64_t>(limit, 0, std::max<int64_t>(max_tokens - room, 0));
}

}  // namespace r1
