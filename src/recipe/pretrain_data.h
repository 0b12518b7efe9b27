// recipe/pretrain_data.h: the model, tokenizer and documents that a pre-training configuration names.
//
//   model = "DIR"             continue from a checkpoint, or
//   [model.config]            a new model, with the names of config.json; vocab_size is the tokenizer's
//   [tokenizer]
//     vocab_size, documents   a byte-level BPE trained on that many documents of the corpus
//   [data]
//     task = "countdown"
//     loss_on = "all" | "answer"
//     ...                     the corpus's own settings (data/corpus.h)
//
// A document is the question as rendered by the chat template, the reasoning trace, and the end-of-sequence
// token.
#pragma once

#include <cstdint>
#include <string>

#include "data/corpus.h"
#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/pretrain.h"

namespace r1 {

struct PretrainData {
  std::string model;  // "": new, from model_config
  Json model_config;
  int64_t tokenizer_vocab = 0;
  int64_t tokenizer_documents = 0;
  bool loss_on_answer = false;
  uint64_t seed = 0;
  CorpusOptions corpus;
};

PretrainData read_pretrain_data(ConfigFile& file, uint64_t seed);
// Loads the model, or makes a new one and its tokenizer; nothing is written. Throws Error, and for a new
// model that needs more than memory_limit bytes (see check_memory) before it is made.
ModelBundle make_pretrain_bundle(const PretrainData& data, const PretrainConfig& config,
                                 int64_t memory_limit);
// The bundle must outlive the source. Thread-safe.
DocumentSource pretrain_documents(const PretrainData& data, const ModelBundle& bundle);

}  // namespace r1
