// recipe/sft_data.h: the documents of supervised fine-tuning.
//
//   [data] files = ["F.jsonl", ...]   rows as in recipe/sft_document.h
//          epochs = 3                 or optimizer.steps
//          loss_on = "answer" | "all"
//
// A row may have further columns; they are not used, and are named once. Each epoch takes all documents in an
// order of its own, a function of (seed, epoch).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/pretrain.h"

namespace r1 {

// `note` gets one line for each file with columns that are not used, and one for each kind of content that
// the chat template leaves out. Throws Error "FILE:LINE: ..."; for a file without a row; for a row longer
// than max_tokens (nothing is cut silently).
std::vector<Document> read_sft_documents(const std::vector<std::string>& files, const ModelBundle& bundle,
                                         bool loss_on_answer, int64_t max_tokens,
                                         const std::function<void(const std::string&)>& note = {});

// `documents` must not be empty. Thread-safe.
DocumentSource shuffled_epochs(std::vector<Document> documents, uint64_t seed);

// How many steps of at least batch_tokens it takes to see `epochs` times as many documents as there are.
int64_t steps_of_epochs(const std::vector<Document>& documents, uint64_t seed, int64_t batch_tokens,
                        int64_t epochs);

}  // namespace r1
