// recipe/sft_data.h: the documents of supervised fine-tuning.
//
//   [data] files = [...]              rows with an answer, in any format of recipe/training_rows.h
//          epochs = 3                 or optimizer.steps
//          loss_on = "answer" | "assistant" | "all"
//
// Each row becomes a document as recipe/sft_document.h says. The learnt part is the whole answer of a
// question (the worked solution in GSM8K, MATH-500 and Minerva), or the last answer of a conversation, or
// with loss_on = "assistant" all its answers, which may take several documents. A row
// that cannot be used, or that is longer than data.max_tokens or the model's context, is left out, counted
// and named.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "recipe/sft_document.h"
#include "recipe/training_rows.h"
#include "train/pretrain.h"

namespace r1 {

// Returns a row as sft_document reads it: {"question", "response"} or {"messages"}, with its tools, documents
// and chat_template_kwargs. Throws Error for a row without an answer.
Json sft_row(const Json& row, const Record& record);

// Calls use(row, document) for each document. Reading stops if it returns false. Notes and errors are those
// of read_training_rows; `note` also gets one line per kind of content that the chat template leaves out, and
// one on conversations that need several documents.
void each_sft_document(const DataFiles& data, const ModelBundle& bundle, LossOn loss_on, int64_t max_tokens,
                       const std::function<bool(const TrainingRow&, const Document&)>& use,
                       const std::function<void(const std::string&)>& note = {});

// Returns all documents in the files' order.
std::vector<Document> read_sft_documents(const DataFiles& data, const ModelBundle& bundle, LossOn loss_on,
                                         int64_t max_tokens,
                                         const std::function<void(const std::string&)>& note = {});

// Returns the documents by index, epoch after epoch. With `shuffle` each epoch has an order of its own, a
// function of (seed, epoch). `documents` must not be empty. Thread-safe.
DocumentSource epochs_of(std::vector<Document> documents, uint64_t seed, bool shuffle);

// Returns the number of steps, of at least batch_tokens each, that `epochs` passes over the documents take.
int64_t steps_of_epochs(const std::vector<Document>& documents, uint64_t seed, int64_t batch_tokens,
                        int64_t epochs, bool shuffle = true);

}  // namespace r1
