#include "recipe/pretrain_data.h"

#include <stdlib.h>  // mkdtemp

#include "base/error.h"
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
  for (int64_t i = 0; i < data.tokenizer_documents; ++i) {
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
  const std::string task = file.choice_or("data.task", "countdown", {"countdown"});
  data.loss_on_answer = file.choice_or("data.loss_on", "all", {"all", "answer"}) == "answer";
  CorpusOptions& c = data.corpus;
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
  if (!data.model.empty()) return ModelBundle::load(data.model);
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
                 "[model.config]'s sizes");
  return ModelBundle::create(Model::create(model, config.run.seed), folder.path());
}

DocumentSource pretrain_documents(const PretrainData& data, const ModelBundle& bundle) {
  return [data, &bundle](int64_t index) {
    const CorpusText text = make_corpus_text(data.corpus, data.seed, static_cast<uint64_t>(index));
    Document document;
    const ChatPrompt prompt = bundle.chat_prompt(text.question);
    document.tokens = prompt.tokens;
    if (data.loss_on_answer) document.loss_from = static_cast<int64_t>(document.tokens.size());
    const std::vector<int32_t> answer =
        bundle.tokenizer.encode(rest_of_response(text.response, prompt.opening), false);
    document.tokens.insert(document.tokens.end(), answer.begin(), answer.end());
    document.tokens.push_back(bundle.stop_tokens.front());
    return document;
  };
}

}  // namespace r1
