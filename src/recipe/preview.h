// recipe/preview.h: the first documents or prompts of a stage, as its model is given them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace r1 {

struct PreviewItem {
  std::string from = {};  // "FILE:LINE", or "countdown3 0": the task and the problem's index
  std::vector<int32_t> tokens = {};
  int64_t learnt_from = 0;  // tokens from here on are trained on; of a prompt: none, so tokens.size()
  int64_t pieces = 1;       // of a document that pretrain cuts
  std::string gold = {};    // of a problem: Problem::gold
};

// `set` has KEY=VALUE assignments of the command line.
//
// The kind of stage that a file configures: pretrain, sft, grpo or distill. Throws Error if it could be several,
// and the reader's error if it is none.
std::string kind_of_config(const std::filesystem::path& config, std::span<const std::string> set = {});

// Calls use(tokenizer, item) for the first `count` documents (pretrain, sft) or problems' prompts (grpo,
// distill). Documents of files come in the files' order, problems in that of the run's first step; no weight is
// trained and nothing is written. `note` gets lines about rows that were left out up to there. Throws Error.
void preview(const std::filesystem::path& config, std::span<const std::string> set, std::string_view kind,
             int64_t count, const std::function<void(const Tokenizer&, const PreviewItem&)>& use,
             const std::function<void(const std::string&)>& note);

}  // namespace r1
