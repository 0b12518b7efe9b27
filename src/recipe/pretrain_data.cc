#include "recipe/pretrain_data.h"

#include <fmt/format.h>
#include <stdlib.h>  // mkdtemp

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "recipe/sft_data.h"
#include "text/bpe_trainer.h"
#include "text/think.h"
#include "train/memory.h"

namespace r1 {
namespace {

// DeepSeek's names for the ends of a text and of turns. The tags are ordinary added tokens, as R1's <think>
// is: they stay in decoded text.
constexpr const char* kBos = "<｜begin▁of▁sentence｜>";
constexpr const char* kEos = "<｜end▁of▁sentence｜>";
constexpr const char* kUser = "<｜User｜>";
constexpr const char* kAssistant = "<｜Assistant｜>";

// A turn of the user opens one of the assistant; earlier answers are repeated without their thoughts, as R1's
// template does.
const std::string kChatTemplate =
    std::string("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}") + "{{ '" +
    kUser + "' + message['content'] }}{% elif message['role'] == 'assistant' %}{{ '" + kAssistant +
    "' + message['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '" + kAssistant + "' }}{% endif %}";

// Returns the texts of the first tokenizer_documents rows.
void feed_rows(const PretrainData& data, BpeTrainer& trainer) {
  int64_t fed = 0;
  const auto feed = [&](const TrainingRow& row) {
    const Record& r = row.record;
    if (!r.messages.is_null()) {
      for (const Json& message : r.messages.items()) {
        const Json* content = message.find("content");
        if (content != nullptr && !content->is_null()) trainer.feed(text_content(*content));
      }
    } else {
      for (const std::string* text : {&r.text, &r.question, &r.answer}) {
        if (!text->empty()) trainer.feed(*text);
      }
    }
    return ++fed < data.tokenizer_documents;
  };
  read_training_rows(data.rows, feed, {});
}

void write_new_tokenizer(const PretrainData& data, const std::filesystem::path& directory,
                         int64_t max_length) {
  BpeTrainerOptions options;
  options.vocab_size = data.tokenizer_vocab;
  options.bos = kBos;
  for (const char* token : {kBos, kEos, kUser, kAssistant})
    options.added.push_back({.content = token, .special = true});
  for (const char* token : {"<think>", "</think>", "<answer>", "</answer>"}) {
    options.added.push_back({.content = token, .special = false});
  }
  BpeTrainer trainer(options);
  if (!data.rows.files.empty()) feed_rows(data, trainer);
  for (int64_t i = 0; data.rows.files.empty() && i < data.tokenizer_documents; ++i) {
    const CorpusText text = make_corpus_text(data.corpus, data.seed, static_cast<uint64_t>(i));
    trainer.feed(text.question);
    trainer.feed(text.response);
  }
  write_tokenizer(directory, {.tokenizer = trainer.train(),
                              .bos = kBos,
                              .eos = kEos,
                              .pad = kEos,
                              .chat_template = kChatTemplate,
                              .model_max_length = max_length});
}

}  // namespace

PretrainData read_pretrain_data(ConfigFile& file, uint64_t seed) {
  PretrainData data;
  data.seed = seed;
  data.model = file.text_or("model", "");
  if (data.model.empty()) {
    data.model_config = file.subtree("model.config");
    if (data.model_config.is_null())
      file.fail("model", "is missing: a directory, or [model.config] for a new model");
    data.tokenizer_vocab = file.integer("tokenizer.vocab_size", 264, 1 << 20);
    data.tokenizer_documents = file.integer_or("tokenizer.documents", 20000, 1, int64_t{1} << 32);
  }
  data.loss_on = read_loss_on(file, LossOn::all);
  data.rows = read_data_files(file);
  if (!data.rows.files.empty()) {
    for (const char* key : {"data.task", "data.four_numbers", "data.stop", "data.long_share",
                            "data.long_stop", "data.aimed", "data.max_attempts"}) {
      if (file.has(key)) file.fail(key, "is for generated documents, and data.files is given: leave one out");
    }
    return data;
  }
  CorpusOptions& c = data.corpus;
  if (file.choice_or("data.task", "countdown", {"countdown", "countdown99"}) == "countdown99") {
    c.numbers_to_99 = true;
    c.rules.limit = countdown99_options(Split::train).step_limit;
  }
  c.four_numbers = file.number_or("data.four_numbers", c.four_numbers, 0, 1);
  c.stop = file.number_or("data.stop", c.stop, 0, 1);
  c.long_share = file.number_or("data.long_share", c.long_share, 0, 1);
  c.long_stop = file.number_or("data.long_stop", c.long_stop, 0, 1);
  c.aimed = file.number_or("data.aimed", c.aimed, 0, 1);
  c.max_attempts = static_cast<int>(file.integer_or("data.max_attempts", c.max_attempts, 1, 1000));
  return data;
}

namespace {

// A folder of this process's own, for files that are read back at once.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "r1-tokenizer-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(name + ": a temporary folder cannot be made");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

ModelBundle make_pretrain_bundle(const PretrainData& data, const PretrainConfig& config,
                                 int64_t memory_limit) {
  Memory& memory = memory_of(config.run.device);
  if (!data.model.empty()) return ModelBundle::load(data.model, DType::f32, WeightUse::training, memory);
  const TemporaryFolder folder;
  Json json = data.model_config;
  write_new_tokenizer(data, folder.path(), json.get_int_or("max_position_embeddings", 2048));
  const Tokenizer tokenizer = Tokenizer::load(folder.path());
  json.set("vocab_size", static_cast<int64_t>(tokenizer.vocab_size()));
  json.set("bos_token_id", static_cast<int64_t>(*tokenizer.id_of(kBos)));
  json.set("eos_token_id", static_cast<int64_t>(*tokenizer.id_of(kEos)));
  const ModelConfig model = read_new_model_config(parse_json(json.dump(), "[model.config]"));
  if (!RunDirectory::finished(config.run.out, config.optimizer.steps))
    check_memory(trained_model(model, config.run.numerics), memory_limit, "the model",
                 "[model.config]'s sizes", config.run.device);
  return ModelBundle::create(Model::create(model, config.run.seed, memory), folder.path());
}

std::vector<Document> pieces_of(const Document& document, int64_t max_tokens) {
  std::vector<Document> pieces;
  const int64_t size = std::ssize(document.tokens);
  for (int64_t begin = 0; begin + 1 < size; begin += max_tokens - 1) {
    const int64_t end = std::min(begin + max_tokens, size);
    TokenRanges trained = ranges_within(document.trained, begin, end);
    // Nothing precedes the piece's first token; it was predicted by the piece before.
    if (!trained.empty() && trained.front().begin == 0 && ++trained.front().begin == trained.front().end)
      trained.erase(trained.begin());
    if (trained.empty()) continue;  // the piece has no token to learn
    pieces.push_back({.tokens = {document.tokens.begin() + begin, document.tokens.begin() + end},
                      .trained = std::move(trained)});
  }
  return pieces;
}

void each_pretrain_document(const PretrainData& data, const ModelBundle& bundle,
                            const std::function<bool(const TrainingRow&, const Document&)>& use,
                            const std::function<void(const std::string&)>& note) {
  if (bundle.stop_tokens.empty())
    throw Error("the model names no end-of-sequence token: a document could not end");
  const auto eos = bundle.tokenizer.id_of(bundle.eos);
  const int32_t end = eos ? *eos : bundle.stop_tokens.front();
  const auto learn = [&](const TrainingRow& row) {
    if (row.record.text.empty()) {
      const SftDocument made = sft_document(sft_row(row.row, row.record), bundle, data.loss_on);
      return std::ranges::all_of(made.documents, [&](const Document& d) { return use(row, d); });
    }
    if (data.loss_on != LossOn::all)
      throw Error(
          fmt::format("is a plain document without an answer, and data.loss_on is \"{}\": set it to \"all\"",
                      name_of(data.loss_on)));
    std::vector<int32_t> tokens = bundle.raw_prompt(row.record.text);
    tokens.push_back(end);
    if (tokens.size() < 2) throw Error("has no token");
    return use(row, document_from(std::move(tokens)));
  };
  read_training_rows(data.rows, learn, note);
}

namespace {

DocumentSource documents_of_files(const PretrainData& data, const ModelBundle& bundle, int64_t max_tokens,
                                  const std::function<void(const std::string&)>& note) {
  std::vector<Document> documents;
  int64_t whole = 0, cut = 0, tokens = 0;
  each_pretrain_document(
      data, bundle,
      [&](const TrainingRow&, const Document& document) {
        std::vector<Document> pieces = pieces_of(document, max_tokens);
        ++whole;
        cut += pieces.size() > 1 ? 1 : 0;
        tokens += std::ssize(document.tokens);
        std::ranges::move(pieces, std::back_inserter(documents));
        return true;
      },
      note);
  if (documents.empty()) throw Error("data.files: their documents hold nothing to learn");
  if (note) {
    std::string line = fmt::format("{} documents with {} tokens", whole, tokens);
    if (cut > 0) {
      line += fmt::format("; {} are longer than data.max_tokens = {} and are cut: {} pieces in all", cut,
                          max_tokens, documents.size());
    }
    note(line);
  }
  return epochs_of(std::move(documents), data.seed, data.rows.shuffle);
}

}  // namespace

DocumentSource pretrain_documents(const PretrainData& data, const ModelBundle& bundle, int64_t max_tokens,
                                  const std::function<void(const std::string&)>& note) {
  if (!data.rows.files.empty()) return documents_of_files(data, bundle, max_tokens, note);
  return [data, &bundle](int64_t index) {
    const CorpusText text = make_corpus_text(data.corpus, data.seed, static_cast<uint64_t>(index));
    const ChatPrompt prompt = bundle.chat_prompt(text.question);
    std::vector<int32_t> tokens = prompt.tokens;
    const std::vector<int32_t> answer =
        bundle.tokenizer.encode_continuation(rest_of_response(text.response, prompt.opening));
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    tokens.push_back(bundle.stop_tokens.front());
    return document_from(std::move(tokens), data.loss_on == LossOn::all ? 1 : std::ssize(prompt.tokens));
  };
}

}  // namespace r1
