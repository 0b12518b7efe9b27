#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <random>
#include <utility>

namespace r1 {
namespace {

// The default of max_tokens in OpenAI's completions; a conversation gets what the context leaves.
constexpr int64_t kCompletionTokens = 16;

double seconds_between(Job::Clock::time_point from, Job::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

uint64_t random_seed() {
  std::random_device device;
  // Below 2^53, so that every JSON reader gets it back as it is.
  return ((uint64_t{device()} << 32) | device()) >> 11;
}

}  // namespace

struct Generation::Choice {
  Choice(int64_t i, const Tokenizer& tokenizer, const AnswerRules& rules)
      : index(i), stream(tokenizer, rules) {}
  int64_t index;
  AnswerStream stream;
  ChoiceText whole;     // not streamed: the answer so far
  bool opened = false;  // its first chunk is written
  bool over = false;
  int64_t characters = 0;  // of the tokens in earlier chunks
  Finish finish;
  Clock::time_point last_token;
};

Generation::Generation(ApiRequest request, RequestInfo info, std::shared_ptr<HttpReply> reply,
                       Serving& serving)
    : request_(std::move(request)), info_(std::move(info)), reply_(std::move(reply)), serving_(serving) {
  owner = info_.owner;
  head_ = {.is_chat = request_.is_chat,
           .id = info_.id,
           .model = serving.name,
           .fingerprint = "r1-" + serving.numerics,
           .created = std::time(nullptr),
           .seed = request_.seed ? *request_.seed : random_seed()};
  if (request_.is_chat) {
    try {
      const bool none = thought_limit(request_, serving.context).value_or(1) == 0;
      add_prompt(serving.builder.chat(request_, none, request_.effort.has_value() && !none));
    } catch (const ApiError&) {
      throw;
    } catch (const Error& e) {
      throw api_error_of(e, "messages");
    }
  } else {
    for (const ApiRequest::Prompt& prompt : request_.prompts) add_prompt(serving.builder.raw(prompt));
  }
  for (size_t p = 0; p < prompts_.size(); ++p) {
    requests.push_back(engine_request(prompts_[p], p));
    for (int64_t i = 0; i < request_.n; ++i) {
      choices_.push_back(
          std::make_unique<Choice>(std::ssize(choices_), serving.bundle.tokenizer, prompts_[p].rules));
    }
  }
  if (request_.stream) reply_->will_stream();
  start_ = info_.arrival;
}

Generation::~Generation() = default;

void Generation::add_prompt(BuiltPrompt built) {
  const char* field = request_.is_chat ? "messages" : "prompt";
  const int64_t length = std::ssize(built.tokens), room = serving_.context - length;
  if (length == 0) throw ApiError("the prompt is empty: it must have at least one token", {.param = field});
  if (room < 1) {
    throw ApiError(
        fmt::format("the model's context is {} tokens and the prompt has {}: it leaves no room for an "
                    "answer",
                    serving_.context, length),
        {.param = field, .code = "context_length_exceeded"});
  }
  const int64_t own = serving_.bundle.max_tokens;
  const int64_t wanted = request_.max_tokens ? *request_.max_tokens
                         : !request_.is_chat ? kCompletionTokens
                         : own > 0           ? own
                                             : room;
  Prompt prompt{.built = std::move(built),
                .limit = std::clamp<int64_t>(wanted, 1, room),  // the engine makes one token at least
                .limited_by_context = wanted > room,
                .only_prompt = wanted == 0};
  AnswerRules& rules = prompt.rules;
  rules.splits_thought = request_.is_chat;
  rules.in_thought = request_.is_chat && prompt.built.in_thought;
  if (request_.is_chat) rules.thought_limit = thought_limit(request_, prompt.limit);
  rules.close = serving_.close_thought;
  rules.stop = request_.stop;
  rules.stop_tokens = request_.stop_token_ids;
  if (!request_.ignore_eos) {
    rules.stop_tokens.insert(rules.stop_tokens.end(), serving_.bundle.stop_tokens.begin(),
                             serving_.bundle.stop_tokens.end());
  }
  prompts_.push_back(std::move(prompt));
}

Request Generation::engine_request(const Prompt& prompt, size_t index) const {
  return {.prompt = prompt.built.tokens,
          .opening = {},
          .samples = request_.n,
          .max_tokens = prompt.limit,
          .sampling = request_.sampling,
          .key = {.seed = head_.seed,
                  .step = 0,
                  .prompt = static_cast<uint32_t>(index),
                  .first_draw = static_cast<uint32_t>(prompt.built.drawn)},
          .stop_tokens = prompt.rules.stop_tokens,
          .detect_loops = request_.detect_loops,
          .owner = info_.owner,
          .top_logprobs = request_.top_logprobs,
          .prompt_logprobs = request_.echo && request_.logprobs};
}

Generation::Choice& Generation::choice_at(size_t request, int64_t sample) {
  return *choices_[request * static_cast<size_t>(request_.n) + static_cast<size_t>(sample)];
}

const Generation::Prompt& Generation::prompt_of(const Choice& choice) const {
  return prompts_[static_cast<size_t>(choice.index / request_.n)];
}

void Generation::started() {
  start_ = Clock::now();
}

Job::Action Generation::token(size_t request, Events::Token& token) {
  Choice& choice = choice_at(request, token.sample);
  const Clock::time_point now = Clock::now();
  if (!first_token_) {
    first_token_ = now;
    serving_.metrics.first_token(seconds_between(info_.arrival, now));
  }
  if (choice.stream.tokens() > 0) serving_.metrics.between_tokens(seconds_between(choice.last_token, now));
  choice.last_token = now;
  if (prompts_[request].only_prompt) return {};
  const AnswerStream::Next next = choice.stream.feed(
      {.token = token.token, .logprob = token.logprob, .likeliest = std::move(token.likeliest)});
  if (request_.stream && choice.stream.has_text()) write_delta(choice, choice.stream.take());
  switch (next) {
    case AnswerStream::Next::go_on:
      return {};
    case AnswerStream::Next::stop:
      return {.stop = true};
    case AnswerStream::Next::close_thought:
      return {.force = prompts_[request].rules.close};
  }
  return {};
}

void Generation::write_delta(Choice& choice, AnswerStream::Delta delta) {
  ChoiceText text{
      .index = choice.index, .logprobs = request_.logprobs, .token_ids = request_.return_token_ids};
  if (!delta.reasoning.empty() && !delta.content.empty()) {
    text.reasoning = std::move(delta.reasoning);
    write_chunk(choice, text);
    text.reasoning.clear();
  }
  text.reasoning = std::move(delta.reasoning);
  text.content = std::move(delta.content);
  text.tokens = std::move(delta.tokens);
  write_chunk(choice, std::move(text));
}

void Generation::write_chunk(Choice& choice, ChoiceText text) {
  const Tokenizer& tokenizer = serving_.bundle.tokenizer;
  const bool first = !std::exchange(choice.opened, true);
  if (first && request_.echo) text.content.insert(0, prompt_of(choice).built.text);
  text.offset = choice.characters;
  choice.characters += characters_of(tokenizer, text.tokens);
  if (first && request_.is_chat) {
    ChoiceText opening{.index = choice.index};
    Json alone = response_head(head_, true);
    if (request_.return_token_ids)
      alone.set("prompt_token_ids", Json::array_of(prompts_.front().built.tokens));
    alone.set("choices", Json::array().push_back(chunk_choice_json(tokenizer, true, opening, true)));
    if (request_.include_usage) alone.set("usage", Json());
    reply_->write(event_of(alone));
  }
  Json chunk = response_head(head_, true);
  chunk.set("choices", Json::array().push_back(chunk_choice_json(tokenizer, request_.is_chat, text, false)));
  if (request_.include_usage) chunk.set("usage", Json());
  written_ = true;
  reply_->write(event_of(chunk));
}

Finish Generation::finish_of(const Choice& choice, const Prompt& prompt, const Completion& completion) const {
  if (choice.stream.stop().found())
    return {.reason = "stop", .detail = "stop", .stop = choice.stream.stop().which()};
  switch (completion.finish) {
    case FinishReason::length:
      return {.reason = "length", .detail = prompt.limited_by_context ? "context" : "length", .stop = {}};
    case FinishReason::loop:
      // Clients know stop and length only, and an answer that was cut is the latter to them.
      return {.reason = "length", .detail = "loop", .stop = {}};
    case FinishReason::stop:
      break;
  }
  const int32_t last = completion.tokens.empty() ? -1 : completion.tokens.back();
  const bool asked = std::ranges::find(request_.stop_token_ids, last) != request_.stop_token_ids.end();
  return {.reason = "stop", .detail = asked ? "stop" : "end", .stop = asked ? Json(last) : Json()};
}

void Generation::ended(size_t request, const Completion& completion) {
  Prompt& prompt = prompts_[request];
  prompt.cached = completion.cached_tokens;
  Choice& choice = choice_at(request, completion.sample);
  choice.stream.finish();
  complete(choice, prompt.only_prompt ? Finish{.reason = "length", .detail = "length", .stop = {}}
                                      : finish_of(choice, prompt, completion));
  if (request_.echo && request_.logprobs) add_prompt_logprobs(choice.whole, prompt, completion);
}

// Puts the prompt's tokens before the answer's.
void Generation::add_prompt_logprobs(ChoiceText& whole, const Prompt& prompt,
                                     const Completion& completion) const {
  const auto top = static_cast<size_t>(request_.top_logprobs);
  std::vector<TokenRecord> records;
  for (size_t i = 0; i < prompt.built.tokens.size(); ++i) {
    TokenRecord record{.token = prompt.built.tokens[i], .logprob = std::numeric_limits<float>::quiet_NaN()};
    if (i > 0 && i <= completion.prompt_logprobs.size()) {
      record.logprob = completion.prompt_logprobs[i - 1];
      const auto likeliest = completion.prompt_likeliest.begin() + static_cast<int64_t>((i - 1) * top);
      record.likeliest.assign(likeliest, likeliest + static_cast<int64_t>(top));
    }
    records.push_back(std::move(record));
  }
  whole.tokens.insert(whole.tokens.begin(), records.begin(), records.end());
}

void Generation::complete(Choice& choice, Finish finish) {
  choice.over = true;
  choice.finish = finish;
  AnswerStream::Delta rest = choice.stream.take();
  if (request_.stream) {
    if (!rest.empty()) {
      write_delta(choice, std::move(rest));
      rest = {};
    }
    write_chunk(choice, {.index = choice.index,
                         .tokens = std::move(rest.tokens),
                         .logprobs = request_.logprobs,
                         .token_ids = request_.return_token_ids,
                         .finish = std::move(finish)});
    return;
  }
  choice.whole = {.index = choice.index,
                  .content = std::move(rest.content),
                  .reasoning = std::move(rest.reasoning),
                  .has_reasoning = choice.stream.has_thought(),
                  .tokens = std::move(rest.tokens),
                  .logprobs = request_.logprobs,
                  .token_ids = request_.return_token_ids,
                  .finish = std::move(finish)};
  if (request_.echo) choice.whole.content.insert(0, prompt_of(choice).built.text);
}

TokenUsage Generation::usage() const {
  TokenUsage out;
  for (const Prompt& p : prompts_) {
    out.prompt += std::ssize(p.built.tokens);
    out.cached += p.cached;
  }
  for (const auto& choice : choices_) {
    out.completion += choice->stream.tokens();
    out.reasoning += choice->stream.thought_tokens();
  }
  return out;
}

void Generation::finished() {
  const TokenUsage used = usage();
  serving_.metrics.count_request(info_.route, 200);
  serving_.metrics.count_answer({.prompt_tokens = used.prompt,
                                 .cached_tokens = used.cached,
                                 .generated_tokens = used.completion,
                                 .reasoning_tokens = used.reasoning,
                                 .seconds = seconds_between(info_.arrival, Clock::now())});
  if (request_.stream) {
    if (request_.include_usage) {
      Json last = response_head(head_, true);
      last.set("choices", Json::array()).set("usage", usage_json(used));
      reply_->write(event_of(last));
    }
    reply_->write("data: [DONE]\n\n");
    reply_->end();
  } else {
    Json list = Json::array();
    for (const auto& choice : choices_)
      list.push_back(choice_json(serving_.bundle.tokenizer, request_.is_chat, choice->whole));
    Json answer = response_head(head_, false);
    answer.set("choices", std::move(list)).set("usage", usage_json(used));
    if (request_.return_token_ids && prompts_.size() == 1)
      answer.set("prompt_token_ids", Json::array_of(prompts_.front().built.tokens));
    reply_->send({.body = answer.dump(), .headers = {{"X-Request-Id", info_.id}}});
  }
  log(200, choices_.front()->finish.detail);
}

void Generation::late() {
  for (const auto& choice : choices_) {
    if (choice->over) continue;
    choice->stream.finish();
    complete(*choice, {.reason = "length", .detail = "timeout", .stop = {}});
  }
}

void Generation::failed(const ApiError& why) {
  if (written_) {
    reply_->write("data: " + error_json(why) + "\n\n");
    reply_->end();
  } else {
    reply_->send(error_response(why));
  }
  serving_.metrics.count_request(info_.route, why.fields().status);
  log(why.fields().status, why.what());
}

void Generation::cancelled() {
  serving_.metrics.count_cancelled();
  log(499, "the client has left");  // the status that servers log for it
}

void Generation::log(int status, const std::string& why) const {
  const TokenUsage used = usage();
  const Clock::time_point now = Clock::now();
  serving_.log(fmt::format(
      "{} {} {} stream={} n={} prompt={} cached={} generated={} reasoning={} queue_s={:.3f} first_s={:.3f} "
      "total_s={:.3f} {}: {}",
      info_.id, info_.route, status, request_.stream ? 1 : 0, request_.choices(), used.prompt, used.cached,
      used.completion, used.reasoning, seconds_between(info_.arrival, start_),
      first_token_ ? seconds_between(info_.arrival, *first_token_) : 0, seconds_between(info_.arrival, now),
      status == 200 ? "finish" : "error", why));
}

}  // namespace r1
