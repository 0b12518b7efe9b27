// cli/answerer.h: one answer at a time, for `r1 run`: the question, the limit of the answer, and its timing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/common.h"

namespace r1 {

// The source of an answer's token limit.
enum class AnswerLimit : uint8_t {
  option,   // --max-tokens
  model,    // generation_config.json's max_new_tokens
  pages,    // kLongestAnswer
  memory,   // --memory-limit
  context,  // the model's context is full
};
// The default limit of an answer. The cache has address space for all its pages before the first token, so an
// answer does not get all of a large context by default.
inline constexpr int64_t kLongestAnswer = 8192;

struct Question {
  std::vector<int32_t> prompt;
  uint64_t seed = 0;
  int64_t drawn = 0;         // tokens of this conversation that were drawn before, see RandomKey::first_draw
  bool detect_loops = true;  // end an answer that only repeats itself, unless --ignore-eos is given
  std::string what = {};     // names the prompt in errors
  std::optional<Constraint> constraint = {};
};

struct Answer {
  std::vector<int32_t> tokens;  // generated, the stop token included
  FinishReason finish = FinishReason::stop;
  bool complete = true;  // see Completion
  bool stopped = false;  // by Ctrl-C or SIGTERM, if they are caught
  int64_t limit = 0;     // largest number of tokens that it could have
  AnswerLimit limited_by = AnswerLimit::option;
  int64_t prompt_tokens = 0;
  double prompt_s = 0;      // until the first token
  double generation_s = 0;  // from the first token to the last
  LookaheadCounts guesses;
};

class Answerer {
 public:
  // The model must outlive this object. Throws Error for invalid options.
  Answerer(const CommonOptions& common, const SamplingFlags& flags, const SamplingModel& model);

  // Calls `show` with each token as it is made. Throws Error.
  Answer answer(const Question& question, const std::function<void(int32_t)>& show);

  // Returns the number of tokens to keep free for an answer when earlier turns compete for the context.
  int64_t room() const;

 private:
  void limit(Request& request, Answer& answer) const;

  const SamplingModel& model_;
  bool limit_is_given_, ignore_eos_;
  Runtime runtime_;
  Request base_;
  Engine engine_;
};

// Returns a sentence on why an answer was cut and what helps; "" if it was not cut. If `in_conversation`, it
// names the commands of a conversation.
std::string cut_note(const Answer& answer, const Model& model, bool in_conversation);

// "prompt 23 tokens, 900.1 tokens/s; answer 64 tokens, 210.4 tokens/s; 31 of 40 guesses of the MTP head right;
// seed 7"; without a source that has not guessed.
std::string speed_note(const Answer& answer, uint64_t seed);

}  // namespace r1
