#include "recipe/sft_data.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/random.h"
#include "formats/jsonl.h"
#include "text/think.h"

namespace r1 {
namespace {

constexpr uint64_t kShuffleStream = 0x53465453;  // "SFTS"

Json one_question(const std::string& question) {
  Json message = Json::object();
  message.set("role", "user").set("content", question);
  Json messages = Json::array();
  messages.push_back(std::move(message));
  return messages;
}

Document document_of(const Json& row, const ModelBundle& bundle, bool loss_on_answer) {
  Json before = Json::array();
  std::string answer;
  if (const Json* messages = row.find("messages")) {
    const auto& list = messages->items();
    if (list.empty() || list.back().get_string("role") != "assistant")
      messages->fail("does not end with an assistant's message");
    for (size_t i = 0; i + 1 < list.size(); ++i) before.push_back(list[i]);
    answer = list.back().get_string("content");
  } else {
    before = one_question(row.get_string("question"));
    answer = row.get_string("response");
  }
  Document document;
  std::string text;
  if (bundle.chat_template.empty()) {
    for (const Json& message : before.items()) text += message.get_string("content");
    document.tokens = bundle.raw_prompt(text);
  } else {
    const ChatPrompt prompt = bundle.chat({.messages = before});
    text = prompt.text;
    document.tokens = prompt.tokens;
  }
  document.loss_from = loss_on_answer ? static_cast<int64_t>(document.tokens.size()) : 1;
  const std::vector<int32_t> tokens =
      bundle.tokenizer.encode(rest_of_response(answer, thought_opening(text)), false);
  document.tokens.insert(document.tokens.end(), tokens.begin(), tokens.end());
  document.tokens.push_back(bundle.stop_tokens.front());
  return document;
}

std::vector<size_t> order_of(size_t count, uint64_t seed, int64_t epoch) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  Random random(seed, kShuffleStream, static_cast<uint32_t>(epoch));
  random.shuffle(order);
  return order;
}

}  // namespace

std::vector<Document> read_sft_documents(const std::vector<std::string>& files, const ModelBundle& bundle,
                                         bool loss_on_answer, int64_t max_tokens) {
  if (bundle.stop_tokens.empty())
    throw Error("the model names no end-of-sequence token: an answer could not end");
  const int64_t context = bundle.model.config().max_positions;
  std::vector<Document> documents;
  for (const std::string& file : files) {
    const size_t before = documents.size();
    JsonlReader reader(file);
    for (JsonlRow row; reader.next(row);) {
      if (!row.error.empty()) throw Error(row.error);
      Document document = document_of(row.value, bundle, loss_on_answer);
      const auto size = static_cast<int64_t>(document.tokens.size());
      if (size > max_tokens) {
        throw Error(fmt::format("{}:{}: has {} tokens, data.max_tokens is {}: raise it, or leave the row out",
                                file, row.line, size, max_tokens));
      }
      if (size > context) {
        throw Error(fmt::format("{}:{}: has {} tokens, the model's context is {}: leave the row out", file,
                                row.line, size, context));
      }
      documents.push_back(std::move(document));
    }
    if (documents.size() == before) throw Error(file + ": holds no row to train on");
  }
  return documents;
}

DocumentSource shuffled_epochs(std::vector<Document> documents, uint64_t seed) {
  R1_CHECK(!documents.empty(), "no documents");
  // The order of the epoch that is being read: made once, shared by the source's copies.
  struct State {
    std::vector<Document> documents;
    std::mutex mutex;
    int64_t epoch = -1;
    std::vector<size_t> order;
  };
  auto state = std::make_shared<State>();
  state->documents = std::move(documents);
  return [state, seed](int64_t index) {
    const auto count = static_cast<int64_t>(state->documents.size());
    const std::lock_guard lock(state->mutex);
    if (state->epoch != index / count) {
      state->epoch = index / count;
      state->order = order_of(state->documents.size(), seed, state->epoch);
    }
    return state->documents[state->order[static_cast<size_t>(index % count)]];
  };
}

int64_t steps_of_epochs(const std::vector<Document>& documents, uint64_t seed, int64_t batch_tokens,
                        int64_t epochs) {
  const DocumentSource source = shuffled_epochs(documents, seed);
  const int64_t last = epochs * static_cast<int64_t>(documents.size());
  int64_t steps = 0;
  for (int64_t index = 0; index < last; ++steps) {
    for (int64_t tokens = 0; tokens < batch_tokens; ++index)
      tokens += static_cast<int64_t>(source(index).tokens.size()) - 1;
  }
  return steps;
}

}  // namespace r1
