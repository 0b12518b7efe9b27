#include "recipe/sft_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/random.h"
#include "formats/jsonl.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr uint64_t kShuffleStream = 0x53465453;  // "SFTS"

// Fields of a row that sft_document reads beside the conversation.
constexpr const char* kBeside[] = {"documents", "chat_template_kwargs"};

bool is_given(const Json& row, const char* name) {
  const Json* value = row.find(name);
  return value != nullptr && !value->is_null();
}

// Returns true if sft_document can read the row as it stands. Its errors then name the row's own fields.
bool is_plain(const Json& row, const Record& record) {
  const bool asks = is_given(row, "question") || is_given(row, "response");
  if (is_given(row, "messages")) return record.format == "messages" && !asks;
  const Json *question = row.find("question"), *response = row.find("response");
  return question != nullptr && response != nullptr && question->is_string() && response->is_string() &&
         record.question == question->string() && record.answer == response->string();
}

std::vector<size_t> order_of(size_t count, uint64_t seed, int64_t epoch) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  Random random(seed, kShuffleStream, static_cast<uint32_t>(epoch));
  random.shuffle(order);
  return order;
}

}  // namespace

Json sft_row(const Json& row, const Record& record) {
  if (is_plain(row, record)) return row;
  if (!record.text.empty())
    throw Error("is a plain document without a question: r1 pretrain learns documents, sft learns answers");
  Json out = Json::object();
  if (!record.messages.is_null()) {
    out.set("messages", record.messages);
  } else {
    if (record.question.empty()) throw Error("has no question");
    if (record.answer.empty()) throw Error("has no answer to learn");
    out.set("question", record.question).set("response", record.answer);
  }
  if (!record.tools.is_null()) out.set("tools", record.tools);
  for (const char* name : kBeside) {
    if (is_given(row, name)) out.set(name, row.at(name));
  }
  return out;
}

void each_sft_document(const DataFiles& data, const ModelBundle& bundle, LossOn loss_on, int64_t max_tokens,
                       const std::function<bool(const TrainingRow&, const Document&)>& use,
                       const std::function<void(const std::string&)>& note) {
  if (bundle.stop_tokens.empty())
    throw Error("the model names no end-of-sequence token: an answer could not end");
  const int64_t context = bundle.model.config().max_positions;
  std::map<std::string, std::string> left_out;  // kind of content -> first row that has it
  int64_t cut_rows = 0, cut_documents = 0;      // rows that need several documents
  const auto learn = [&](const TrainingRow& row) {
    const SftDocument made = sft_document(sft_row(row.row, row.record), bundle, loss_on);
    for (const Document& document : made.documents) {
      const auto size = std::ssize(document.tokens);
      if (size > max_tokens) {
        throw TooLong(fmt::format("has {} tokens, data.max_tokens is {}", size, max_tokens),
                      fmt::format("data.max_tokens = {}", max_tokens));
      }
      if (size > context) {
        throw TooLong(fmt::format("has {} tokens, the model's context is {}", size, context),
                      fmt::format("the model's context of {} tokens", context));
      }
    }
    for (const std::string& kind : made.left_out) left_out.try_emplace(kind, row.where());
    if (made.documents.size() > 1) ++cut_rows, cut_documents += std::ssize(made.documents);
    return std::ranges::all_of(made.documents, [&](const Document& d) { return use(row, d); });
  };
  read_training_rows(data, learn, note);
  if (!note || data.is_own) return;
  for (const auto& [kind, where] : left_out) {
    note(fmt::format(
        "{}: the chat template does not write {}: nothing is learnt of them, here and in later rows", where,
        shown(kind)));
  }
  if (cut_rows > 0) {
    note(
        fmt::format("{} conversations are learnt as {} documents: the chat template writes earlier answers "
                    "otherwise than the model gives them, for example without thoughts",
                    cut_rows, cut_documents));
  }
}

std::vector<Document> read_sft_documents(const DataFiles& data, const ModelBundle& bundle, LossOn loss_on,
                                         int64_t max_tokens,
                                         const std::function<void(const std::string&)>& note) {
  std::vector<Document> documents;
  each_sft_document(
      data, bundle, loss_on, max_tokens,
      [&](const TrainingRow&, const Document& document) {
        documents.push_back(document);
        return true;
      },
      note);
  return documents;
}

DocumentSource epochs_of(std::vector<Document> documents, uint64_t seed, bool shuffle) {
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
  return [state, seed, shuffle](int64_t index) {
    const auto count = static_cast<int64_t>(state->documents.size());
    if (!shuffle) return state->documents[static_cast<size_t>(index % count)];
    const std::lock_guard lock(state->mutex);
    if (state->epoch != index / count) {
      state->epoch = index / count;
      state->order = order_of(state->documents.size(), seed, state->epoch);
    }
    return state->documents[state->order[static_cast<size_t>(index % count)]];
  };
}

int64_t steps_of_epochs(const std::vector<Document>& documents, uint64_t seed, int64_t batch_tokens,
                        int64_t epochs, bool shuffle) {
  const DocumentSource source = epochs_of(documents, seed, shuffle);
  const int64_t last = epochs * static_cast<int64_t>(documents.size());
  int64_t steps = 0;
  for (int64_t index = 0; index < last; ++steps) {
    for (int64_t tokens = 0; tokens < batch_tokens; ++index)
      tokens += static_cast<int64_t>(source(index).tokens.size()) - 1;
  }
  return steps;
}

}  // namespace r1
