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
#include "recipe/sft_document.h"

namespace r1 {
namespace {

constexpr uint64_t kShuffleStream = 0x53465453;  // "SFTS"

// What a reader of a file should know, each thing once.
class Notes {
 public:
  explicit Notes(const std::string& file) : file_(file) {}

  void add(const JsonlRow& row, const std::vector<std::string>& left_out) {
    for (const auto& [name, value] : row.value.members()) {
      const bool is_used =
          std::find(std::begin(kSftFields), std::end(kSftFields), name) != std::end(kSftFields);
      const bool is_known = std::find(columns_.begin(), columns_.end(), name) != columns_.end();
      if (!is_used && !is_known && columns_.size() < kMaxColumns) columns_.push_back(name);
    }
    for (const std::string& kind : left_out) left_out_.try_emplace(kind, row.line);
  }

  void write(const std::function<void(const std::string&)>& note) const {
    std::string names;
    for (const std::string& name : columns_) names += (names.empty() ? "" : ", ") + shown(name);
    if (columns_.size() == 1) note(fmt::format("{}: column {} is not used", file_, names));
    if (columns_.size() > 1) note(fmt::format("{}: columns {} are not used", file_, names));
    for (const auto& [kind, line] : left_out_) {
      note(fmt::format(
          "{}:{}: the chat template does not write {}: nothing is learnt of them, here and in later rows",
          file_, line, shown(kind)));
    }
  }

 private:
  static constexpr size_t kMaxColumns = 30;
  std::string file_;
  std::vector<std::string> columns_;
  std::map<std::string, int64_t> left_out_;  // first line
};

// An error of the row's document names the row; those of its fields do already.
template <class Action>
auto in_row(const std::string& where, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(where + ":")) throw;
    throw Error(where + ": " + error.what());
  }
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
                                         bool loss_on_answer, int64_t max_tokens,
                                         const std::function<void(const std::string&)>& note) {
  if (bundle.stop_tokens.empty())
    throw Error("the model names no end-of-sequence token: an answer could not end");
  const int64_t context = bundle.model.config().max_positions;
  std::vector<Document> documents;
  for (const std::string& file : files) {
    const size_t before = documents.size();
    JsonlReader reader(file);
    Notes notes(file);
    for (JsonlRow row; reader.next(row);) {
      if (!row.error.empty()) throw Error(row.error);
      const std::string where = fmt::format("{}:{}", file, row.line);
      SftDocument read = in_row(where, [&] { return sft_document(row.value, bundle, loss_on_answer); });
      const auto size = static_cast<int64_t>(read.document.tokens.size());
      if (size > max_tokens) {
        throw Error(fmt::format("{}: has {} tokens, data.max_tokens is {}: raise it, or leave the row out",
                                where, size, max_tokens));
      }
      if (size > context) {
        throw Error(fmt::format("{}: has {} tokens, the model's context is {}: leave the row out", where,
                                size, context));
      }
      notes.add(row, read.left_out);
      documents.push_back(std::move(read.document));
    }
    if (documents.size() == before) throw Error(file + ": holds no row to train on");
    if (note) notes.write(note);
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
