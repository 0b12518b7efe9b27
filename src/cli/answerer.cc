#include "cli/answerer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "cli/caught_signals.h"
#include "model/kv_cache.h"

namespace r1 {
namespace {

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
}

}  // namespace

Answerer::Answerer(const CommonOptions& common, const SamplingFlags& flags, const SamplingModel& model)
    : model_(model),
      limit_is_given_(flags.max_tokens.has_value()),
      ignore_eos_(flags.ignore_eos),
      runtime_(common, model.model(), model.numerics),
      base_(base_request(flags, model.sampling, model.stop_tokens,
                         model.max_tokens > 0 ? model.max_tokens : kLongestAnswer)),
      engine_(model.model(), runtime_.ctx,
              {.max_batch = 1,
               .prefill_chunk = 2048,
               .kv_bytes = runtime_.kv_bytes(),
               .lookahead = common.lookahead}) {}

int64_t Answerer::room() const {
  return std::min(base_.max_tokens, std::max<int64_t>(model_.model().config().max_positions / 4, 1));
}

// Lowers the answer's limit to the room that the context leaves and, unless the user gave a limit, to the
// room in memory.
void Answerer::limit(Request& request, Answer& answer) const {
  answer.limited_by = limit_is_given_         ? AnswerLimit::option
                      : model_.max_tokens > 0 ? AnswerLimit::model
                                              : AnswerLimit::pages;
  const ModelConfig& config = model_.model().config();
  const auto at_most = [&](int64_t tokens, AnswerLimit why) {
    if (request.max_tokens <= tokens) return;
    request.max_tokens = std::max<int64_t>(tokens, 1);
    answer.limited_by = why;
  };
  const int64_t max_length = request.sampling.max_length;  // of prompt and answer together
  if (max_length > 0) at_most(max_length - answer.prompt_tokens, AnswerLimit::model);
  at_most(config.max_positions - answer.prompt_tokens, AnswerLimit::context);
  if (runtime_.kv_bytes() > 0 && !limit_is_given_) {
    const int64_t pages = runtime_.kv_bytes() / KvCache::bytes_per_page(config, runtime_.ctx.row().cache);
    at_most(pages * kKeyTile - answer.prompt_tokens, AnswerLimit::memory);
  }
  answer.limit = request.max_tokens;
}

Answer Answerer::answer(const Question& question, const std::function<void(int32_t)>& show) {
  using Clock = std::chrono::steady_clock;
  check_prompt(model_.model(), question.prompt, question.what);
  Request request = base_;
  request.prompt = question.prompt;
  request.key = {
      .seed = question.seed, .step = 0, .prompt = 0, .first_draw = static_cast<uint32_t>(question.drawn)};
  request.constraint = question.constraint;
  request.detect_loops = question.detect_loops && !ignore_eos_;
  Answer answer;
  answer.prompt_tokens = static_cast<int64_t>(question.prompt.size());
  limit(request, answer);
  const LookaheadCounts before = engine_.statistics().lookahead;
  const Clock::time_point begin = Clock::now();
  Clock::time_point first = begin, last = begin;
  const auto completions = engine_.run(std::span(&request, 1), [&](int64_t, int64_t, int32_t token) {
    last = Clock::now();
    if (first == begin) first = last;
    if (show) show(token);
    answer.stopped = CaughtSignals::seen(SIGINT) || seen_termination() != 0;
    return !answer.stopped;
  });
  answer.guesses = engine_.statistics().lookahead - before;
  answer.tokens = completions.front().tokens;
  answer.finish = completions.front().finish;
  answer.complete = completions.front().complete;
  answer.prompt_s = std::chrono::duration<double>(first - begin).count();
  answer.generation_s = std::chrono::duration<double>(last - first).count();
  return answer;
}

std::string cut_note(const Answer& answer, const Model& model, bool in_conversation) {
  if (answer.stopped) return in_conversation ? "stopped; /more goes on with the answer" : "";
  if (answer.finish == FinishReason::loop) return "stopped: the answer only repeats itself";
  if (answer.finish != FinishReason::length) return "";
  const std::string cut = fmt::format("the answer was cut after {} tokens", answer.tokens.size());
  const std::string more = in_conversation ? "/more goes on with it; " : "";
  switch (answer.limited_by) {
    case AnswerLimit::option:
      return fmt::format("{}: {}a larger --max-tokens allows longer answers", cut, more);
    case AnswerLimit::model:
    case AnswerLimit::pages:
      return fmt::format("{}: {}--max-tokens {} allows longer ones", cut, more, 4 * answer.limit);
    case AnswerLimit::memory:
      return fmt::format("{}: a larger --memory-limit allows longer ones", cut);
    case AnswerLimit::context:
      return fmt::format("{}: the model's context of {} tokens is full{}", cut, model.config().max_positions,
                         in_conversation ? "; /clear starts afresh" : "");
  }
  return cut;
}

std::string speed_note(const Answer& answer, uint64_t seed) {
  const auto made = static_cast<int64_t>(answer.tokens.size());
  std::string guesses;
  const auto add = [&guesses](std::string_view source, const GuessCounts& counts) {
    if (counts.guessed > 0)
      guesses += fmt::format("; {} of {} guesses of {} right", counts.accepted, counts.guessed, source);
  };
  add("prompt look-up", answer.guesses.look_up);
  add("the MTP head", answer.guesses.head);
  return fmt::format("prompt {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s{}; seed {}",
                     answer.prompt_tokens, rate(answer.prompt_tokens, answer.prompt_s), made,
                     rate(made - 1, answer.generation_s), guesses, seed);
}

}  // namespace r1
