#include "cli/generate_rows.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/error.h"
#include "cli/bounds.h"
#include "cli/row_fields.h"
#include "engine/sampling_config.h"
#include "text/chat_template.h"

namespace r1 {
namespace {

// Returns the field unless it is absent or null: exported tables often have null for a missing value.
const Json* given(const Json& row, std::string_view name) {
  const Json* field = row.find(name);
  return field == nullptr || field->is_null() ? nullptr : field;
}

// Returns the setting under whichever of its two names the row has.
const Json* given_once(const Json& row, std::string_view name, std::string_view other) {
  const Json* first = given(row, name);
  const Json* second = given(row, other);
  if (first != nullptr && second != nullptr)
    second->fail(fmt::format("is given beside {}, which means the same: give one of the two", name));
  return first != nullptr ? first : second;
}

int64_t whole_number(const Json& field, int64_t low, int64_t high) {
  field.number();  // throws unless the field is a number
  if (!field.is_integer() || field.integer() < low || field.integer() > high)
    field.fail(
        fmt::format("is {}; it must be a whole number between {} and {}", field.number_text(), low, high));
  return field.integer();
}

// Returns the text up to the end of the last message's content, so that the model continues that message.
std::string cut_after(const std::string& text, const Json& messages) {
  const Json& last = messages.at(messages.size() - 1);
  if (last.get_string_or("role", "") != "assistant")
    last.fail("must be the assistant's: continue_final_message goes on with its content");
  const std::string& content = last.get_string("content");
  const std::string_view begun = trim(content);
  const size_t at = begun.empty() ? std::string::npos : text.rfind(begun);
  if (at == std::string::npos)
    last.at("content").fail(
        "is not in the rendered conversation, so continue_final_message cannot go on with it");
  // White space at the content's end stays if the template wrote it.
  const std::string_view whole = std::string_view(content).substr(content.find_first_not_of(" \t\r\n"));
  const bool kept = std::string_view(text).substr(at).starts_with(whole);
  return text.substr(0, at + (kept ? whole.size() : begun.size()));
}

std::vector<int32_t> prompt_of(const Json& row, const SamplingModel& model, int64_t now) {
  const Json* prompt = given(row, "prompt");
  const Json* messages = given(row, "messages");
  const Json* tokens = given(row, "tokens");
  if ((prompt != nullptr) + (messages != nullptr) + (tokens != nullptr) != 1)
    row.fail("must have exactly one of \"prompt\", \"messages\" and \"tokens\"");
  if (messages == nullptr) {
    for (const char* field : kChatFields) {
      if (const Json* stray = given(row, field)) stray->fail("is given, but only \"messages\" uses it");
    }
    if (const Json* stray = given(row, "continue_final_message"))
      stray->fail("is given, but only \"messages\" uses it");
  }
  if (tokens != nullptr) return read_token_ids(*tokens);
  const ModelBundle& bundle = model.tokenized();
  if (prompt != nullptr) return bundle.raw_prompt(prompt->string());
  if (bundle.chat_template.empty())
    messages->fail("is given, but the model has no chat template: give \"prompt\"");
  ChatInput input = chat_input(row);
  input.now = now;
  const bool goes_on =
      given(row, "continue_final_message") != nullptr && row.get_bool("continue_final_message");
  if (!goes_on) return bundle.chat(input).tokens;
  if (given(row, "add_generation_prompt") != nullptr && input.add_generation_prompt)
    row.at("add_generation_prompt").fail("is true, which continue_final_message excludes");
  input.add_generation_prompt = false;
  return bundle.tokenizer.encode(cut_after(bundle.chat(input).text, input.messages), false);
}

// Reads "key": [seed, step, prompt], which selects the random numbers of a training rollout.
RandomKey key_of(const Json& row, RandomKey key) {
  const Json* given_key = given(row, "key");
  const Json* seed = given(row, "seed");
  if (given_key == nullptr) {
    if (seed != nullptr) key.seed = static_cast<uint64_t>(whole_number(*seed, 0, INT64_MAX));
    return key;
  }
  if (seed != nullptr) seed->fail("is given beside key, which has a seed of its own: give one of the two");
  if (given_key->size() != 3) given_key->fail("must be [seed, step, prompt]");
  return {.seed = static_cast<uint64_t>(whole_number(given_key->at(0), 0, INT64_MAX)),
          .step = static_cast<uint32_t>(whole_number(given_key->at(1), 0, UINT32_MAX)),
          .prompt = static_cast<uint32_t>(whole_number(given_key->at(2), 0, UINT32_MAX))};
}

const std::vector<std::string>& known_fields() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list = {
        "prompt",         "tokens",      "id",   "key",        "seed",           "max_tokens",
        "max_new_tokens", "samples",     "n",    "ignore_eos", "stop_token_ids", "continue_final_message",
        "grammar",        "json_schema", "regex"};
    list.insert(list.end(), std::begin(kChatFields), std::end(kChatFields));
    list.insert(list.end(), sampling_fields().begin(), sampling_fields().end());
    return list;
  }();
  return names;
}

// Overrides the command line's settings with those of the row.
void read_settings(const Json& row, const SamplingModel& model, Request& request) {
  const ModelConfig& config = model.model().config();
  SamplingParams& sampling = request.sampling;
  read_sampling(row, config.vocab_size, sampling);
  if (const Json* field = given_once(row, "max_tokens", "max_new_tokens")) {
    request.max_tokens = whole_number(*field, 1, config.max_positions);
    if (given(row, "max_length") == nullptr) sampling.max_length = 0;
  }
  if (const Json* field = given_once(row, "samples", "n"))
    request.samples = whole_number(*field, 1, kMostSamples);
  if (const Json* field = given(row, "ignore_eos"))
    request.stop_tokens = field->boolean() ? std::vector<int32_t>() : model.stop_tokens;
  if (const Json* field = given(row, "stop_token_ids")) {
    for (const int32_t id : read_token_ids(*field)) {
      if (id >= config.vocab_size)
        field->fail(
            fmt::format("has token {}; the model's token ids are 0 to {}", id, config.vocab_size - 1));
      request.stop_tokens.push_back(id);
    }
  }
}

// Reads "grammar" (a text in GBNF), "json_schema" (a schema) or "regex" (a regular expression), in place of the
// command's.
void read_constraint(const Json& row, Constraints& constraints, Request& request) {
  const Json* grammar = given(row, "grammar");
  const Json* schema = given(row, "json_schema");
  const Json* regex = given(row, "regex");
  if (grammar != nullptr && schema != nullptr) schema->fail("is given beside grammar: give one of the two");
  if (regex != nullptr && (grammar != nullptr || schema != nullptr))
    regex->fail(fmt::format("is given beside {}: give one of the two",
                            grammar != nullptr ? "grammar" : "json_schema"));
  if (grammar != nullptr)
    request.constraint = constraints.of_gbnf(grammar->string(), row.source() + ": grammar");
  if (schema != nullptr) request.constraint = constraints.of_schema(*schema, row.source() + ": json_schema");
  if (regex != nullptr) request.constraint = constraints.of_regex(regex->string(), row.source() + ": regex");
  if (request.constraint) request.constraint->begin = constraints.begin_after(request.prompt);
}

void read_row(const Json& json, const SamplingModel& model, Constraints& constraints, int64_t now,
              GenerateRow& row) {
  row.id = row_id(json);
  check_row_fields(json, known_fields());
  read_settings(json, model, row.request);
  row.request.key = key_of(json, row.request.key);
  row.request.prompt = prompt_of(json, model, now);
  check_prompt(model.model(), row.request.prompt, json.source());
  read_constraint(json, constraints, row.request);
}

}  // namespace

std::vector<GenerateRow> read_generate_rows(JsonlReader& input, const SamplingModel& model,
                                            const Request& base, Constraints& constraints, int64_t now) {
  std::vector<GenerateRow> rows;
  int64_t total = 0;
  for (JsonlRow json; input.next(json);) {
    GenerateRow& row =
        rows.emplace_back(GenerateRow{.row = json.row, .error = json.error, .id = {}, .request = {}});
    if (row.error.empty()) {
      row.request = base;
      row.request.key.prompt = static_cast<uint32_t>(json.row);
      try {
        read_row(json.value, model, constraints, now, row);
      } catch (const Error& e) {
        row.error = e.what();
        row.request = {};
      }
    }
    check_row_count(total += row.rows());
  }
  return rows;
}

}  // namespace r1
