// recipe/pretrain_data.h: the model, tokenizer and documents that a pre-training configuration names.
//
//   model = "DIR"             continue from a checkpoint, or
//   [model.config]            a new model, with the names of config.json; vocab_size is the tokenizer's
//   [tokenizer]
//     vocab_size, documents   a byte-level BPE trained on that many documents of the corpus
//   [data]
//     task = "countdown" | "countdown99"
//     loss_on = "all" | "answer" | "assistant"    recipe/sft_document.h; a task's document has one answer
//     ...                     the corpus's own settings (data/corpus.h)
//
//   or, instead of a task,
//     files = [...]           documents of files (recipe/training_rows.h)
//
// A task's document is the question as rendered by the chat template, the reasoning trace, and the
// end-of-sequence token. A text of a file is encoded like a raw prompt and ended by that token. A row with an
// answer becomes a document as in sft (recipe/sft_document.h). A document that is longer than data.max_tokens
// is cut into pieces. Each piece begins with the last token of the piece before, so that every token but a
// document's first is predicted once.
//
// Files are read as streams. Only the documents' tokens are held.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "recipe/sft_document.h"
#include "recipe/training_rows.h"
#include "train/pretrain.h"

namespace r1 {

struct PretrainData {
  std::string model;  // "": new, from model_config
  Json model_config;
  int64_t tokenizer_vocab = 0;
  int64_t tokenizer_documents = 0;
  LossOn loss_on = LossOn::all;
  uint64_t seed = 0;
  CorpusOptions corpus;
  DataFiles rows;  // no files: the task's corpus
};

PretrainData read_pretrain_data(ConfigFile& file, uint64_t seed);
// Loads the model, or makes a new one and its tokenizer; nothing is written. Throws Error, and for a new
// model that needs more than memory_limit bytes (see check_memory) before it is made.
ModelBundle make_pretrain_bundle(const PretrainData& data, const PretrainConfig& config,
                                 int64_t memory_limit);
// Returns the documents by index. The bundle must outlive the source, which is thread-safe. `note` gets the
// lines of read_training_rows and one with the numbers of documents, pieces and tokens.
DocumentSource pretrain_documents(const PretrainData& data, const ModelBundle& bundle, int64_t max_tokens,
                                  const std::function<void(const std::string&)>& note = {});

// Calls use(row, document) for each whole document of the files. Reading stops if it returns false.
void each_pretrain_document(const PretrainData& data, const ModelBundle& bundle,
                            const std::function<bool(const TrainingRow&, const Document&)>& use,
                            const std::function<void(const std::string&)>& note = {});

// Cuts the document into pieces of at most max_tokens >= 2. Pieces without a token to learn are left out.
std::vector<Document> pieces_of(const Document& document, int64_t max_tokens);

}  // namespace r1
