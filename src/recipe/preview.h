// recipe/preview.h: the first documents or prompts of a stage, as its model gets them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/token_range.h"
#include "text/tokenizer.h"

namespace r1 {

struct PreviewItem {
  std::string from = {};  // "FILE:LINE", or "countdown3 0": the task and the problem's index
  std::vector<int32_t> tokens = {};
  TokenRanges trained = {};  // the tokens that are trained on; none of a prompt
  int64_t pieces = 1;        // the number of pieces into which pretrain cuts the document
  std::string gold = {};     // Problem::gold, for a prompt
};

// Returns the kind of stage that a file configures: pretrain, sft, grpo, ppo or distill. `set` has KEY=VALUE
// assignments of the command line. Throws Error if several kinds fit.
std::string kind_of_config(const std::filesystem::path& config, std::span<const std::string> set = {});

// Calls use(tokenizer, item) for the first `count` documents (pretrain, sft) or problems' prompts (grpo,
// distill). Documents come in the order of the files, problems in the order of the run. Nothing is trained or
// written. `note` gets lines about the rows that were left out so far. Throws Error if the stage could not be
// run.
void preview(const std::filesystem::path& config, std::span<const std::string> set, std::string_view kind,
             int64_t count, const std::function<void(const Tokenizer&, const PreviewItem&)>& use,
             const std::function<void(const std::string&)>& note);

}  // namespace r1
