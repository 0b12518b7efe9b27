// recipe/sft_data.h: the documents of supervised fine-tuning.
//
//   [data] files = ["F.jsonl", ...]   rows as in recipe/sft_document.h
//          epochs = 3                 or optimizer.steps
//          loss_on = "answer" | "all"
//
// A row may have further columns; they are ignored, and named once. Each epoch takes all documents in its own
// order, a function of (seed, epoch).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "formats/config_file.h"
#include "train/pretrain.h"

namespace r1 {

// Calls `note` with one line for each file with ignored columns, and one for each kind of content that the
// chat template leaves out. Throws Error "FILE:LINE: ..." for a bad row, also for one longer than max_tokens
// (nothing is cut silently), and Error for a file without rows.
std::vector<Document> read_sft_documents(const std::vector<std::string>& files, const ModelBundle& bundle,
                                         bool loss_on_answer, int64_t max_tokens,
                                         const std::function<void(const std::string&)>& note = {});

// `documents` must not be empty. Thread-safe.
DocumentSource shuffled_epochs(std::vector<Document> documents, uint64_t seed);

// Returns the number of steps, of at least batch_tokens each, that `epochs` passes over the documents take.
int64_t steps_of_epochs(const std::vector<Document>& documents, uint64_t seed, int64_t batch_tokens,
                        int64_t epochs);

}  // namespace r1
