#include "server/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <random>
#include <utility>

#include "base/hash.h"
#include "text/think.h"

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
  ChoiceText whole;     // not streamed: the answer
  bool opened = false;  // its first part is written
  bool over = false;
  int64_t characters = 0;  // of the tokens in earlier parts
  Finish finish;
  Clock::time_point last_token;
};

Generation::Generation(ApiRequest request, RequestInfo info, std::shared_ptr<HttpReply> reply,
                       Serving& serving, AnswerGrammars::Shared grammar)
    : request_(std::move(request)),
      info_(std::move(info)),
      reply_(std::move(reply)),
      serving_(serving),
      grammar_(std::move(grammar)) {
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
  make_writer();
  if (request_.stream) reply_->will_stream();
  start_ = info_.arrival;
}

void Generation::make_writer() {
  Sha256 digest;  // of the prompts
  for (const Prompt& prompt : prompts_) digest.update(std::as_bytes(std::span(prompt.built.tokens)));
  head_.call_seed = fmt::format("{} {}", head_.seed, digest.hex());
  AnswerView view{.include_usage = request_.include_usage, .token_ids = request_.return_token_ids};
  if (prompts_.size() == 1) view.prompt = prompts_.front().built.tokens;
  writer_ = request_.is_messages ? messages_writer(reply_, head_, std::move(view))
                                 : openai_writer(reply_, serving_.bundle.tokenizer, head_, std::move(view));
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
  if (request_.is_chat)
    rules.thought_limit = thought_limit(request_, prompt.limit, answer_tokens(prompt.built));
  rules.close = serving_.close_thought;
  rules.stop = request_.stop;
  rules.stop_tokens = request_.stop_token_ids;
  if (!request_.ignore_eos) {
    rules.stop_tokens.insert(rules.stop_tokens.end(), serving_.bundle.stop_tokens.begin(),
                             serving_.bundle.stop_tokens.end());
  }
  if (request_.tools.may_call()) rules.calls = &serving_.builder.tools().syntax();
  const bool is_checked = request_.structure.kind != AnswerStructure::Kind::free && !request_.stop.empty();
  rules.keeps_content = is_checked || (request_.is_chat && request_.n == 1);
  if (grammar_ != nullptr) check_room(prompt);
  prompts_.push_back(std::move(prompt));
}

// Tokens behind the thought that are enough for a whole answer of the form that is asked for. 0: no form.
int64_t Generation::answer_tokens(const BuiltPrompt& built) const {
  if (grammar_ == nullptr || grammar_->what == AnswerGrammar::What::free) return 0;
  if (built.after_thought || !serving_.builder.thinks()) return 0;
  // The tags of the thought, and the token that ends an answer, need room, too.
  const int64_t tags =
      std::ssize(serving_.close_thought) + (built.in_thought ? 0 : std::ssize(serving_.open_thought));
  return grammar_->enough.value_or(0) + tags + 1;
}

// Refuses a limit that no answer can keep.
void Generation::check_room(const Prompt& prompt) const {
  if (request_.continue_final_message && !prompt.built.in_thought && prompt.built.drawn > 0) {
    throw ApiError(
        "continue_final_message goes on with an answer, and the form of an answer is that of its "
        "whole text: leave out one of the two",
        {.param = "continue_final_message"});
  }
  // An open thought is closed first.
  const int64_t room = prompt.limit - (prompt.built.in_thought ? std::ssize(serving_.close_thought) + 1 : 0);
  if (grammar_->enough && *grammar_->enough <= room) return;
  bool fits = false;
  try {
    fits = room > 0 && may_fit(*grammar_->masks, grammar_->shortest, room);
  } catch (const Error& e) {
    throw ApiError(e.what(), {.param = request_.structure.field});
  }
  if (fits) return;
  const std::string need = grammar_->enough
                               ? fmt::format("the shortest one has {} tokens", *grammar_->enough)
                               : fmt::format("the shortest one has {} bytes", grammar_->shortest.bytes);
  throw ApiError(
      fmt::format("no answer of the form that is asked for fits into {} tokens: {}{}", prompt.limit, need,
                  prompt.built.in_thought ? ", and the thought comes before it" : ""),
      {.param = prompt.limited_by_context ? (request_.is_chat ? "messages" : "prompt") : request_.limit_field,
       .code = prompt.limited_by_context ? "context_length_exceeded" : "limit_too_small"});
}

Request Generation::engine_request(const Prompt& prompt, size_t index) const {
  std::optional<Constraint> constraint;
  if (grammar_ != nullptr) {
    // The whole text is the answer to a raw prompt, unless the prompt has opened a thought.
    // An answer without room for a thought has none.
    const bool may_think = request_.is_chat && serving_.builder.thinks() && !prompt.built.after_thought &&
                           prompt.rules.thought_limit.value_or(1) > 0;
    constraint = Constraint{.masks = grammar_->masks,
                            .begin = prompt.built.in_thought ? Constraint::Begin::after_thought
                                     : may_think             ? Constraint::Begin::after_any_thought
                                                             : Constraint::Begin::at_once};
  }
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
          .constraint = std::move(constraint),
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
  const auto part = [&] {
    return ChoiceText{
        .index = choice.index, .logprobs = request_.logprobs, .token_ids = request_.return_token_ids};
  };
  // The tokens go with the last part.
  std::vector<ChoiceText> parts;
  if (!delta.reasoning.empty()) {
    parts.push_back(part());
    parts.back().reasoning = std::move(delta.reasoning);
  }
  if (!delta.content.empty()) {
    parts.push_back(part());
    parts.back().content = std::move(delta.content);
  }
  if (!delta.calls.empty()) {
    parts.push_back(part());
    parts.back().calls = std::move(delta.calls);
  }
  if (parts.empty()) parts.push_back(part());
  parts.back().tokens = std::move(delta.tokens);
  for (ChoiceText& text : parts) write_part(choice, std::move(text));
}

void Generation::write_part(Choice& choice, ChoiceText text) {
  if (!std::exchange(choice.opened, true) && request_.echo)
    text.content.insert(0, prompt_of(choice).built.text);
  text.offset = choice.characters;
  choice.characters += characters_of(serving_.bundle.tokenizer, text.tokens);
  writer_->part(text);
}

// True if the content of a choice that a stop string has ended is a whole text of the form.
bool Generation::is_whole(const Choice& choice) const {
  const std::string& content = choice.stream.content();
  const bool has_thought = !request_.is_chat && prompt_of(choice).built.in_thought;
  GrammarState state(grammar_->masks->grammar(), true);
  try {
    return state.accept(has_thought ? split_think(content, true).answer : content) && state.is_complete();
  } catch (const Error&) {
    return false;
  }
}

// Says so if the answer lacks a part of its form, or if it calls functions.
Finish Generation::with_form(Finish finish, const Choice& choice, bool complete) const {
  if (grammar_ == nullptr) return finish;
  using What = AnswerGrammar::What;
  const bool is_free = grammar_->what == What::free;
  if (is_free && !choice.stream.in_calls()) return finish;
  if (complete) {
    if (choice.stream.complete_calls() == 0) return finish;
    return {.reason = "tool_calls", .detail = "tool_calls", .stop = {}};
  }
  const bool in_call = is_free || grammar_->what == What::call || choice.stream.in_calls();
  finish.reason = "length";
  finish.detail += in_call                        ? "_incomplete_call"
                   : grammar_->what == What::text ? "_incomplete_text"
                                                  : "_incomplete_json";
  return finish;
}

Finish Generation::finish_of(const Choice& choice, const Prompt& prompt, const Completion& completion) const {
  if (choice.stream.stop().found()) {
    const bool has_form = request_.structure.kind != AnswerStructure::Kind::free;
    return with_form({.reason = "stop", .detail = "stop", .stop = choice.stream.stop().which()}, choice,
                     has_form ? is_whole(choice) : !choice.stream.in_calls());
  }
  return with_form(plain_finish(prompt, completion), choice, completion.complete);
}

Finish Generation::plain_finish(const Prompt& prompt, const Completion& completion) const {
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
    write_part(choice, {.index = choice.index,
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
                  .calls = std::move(rest.calls),
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

// The key pays for what was computed.
void Generation::pay() {
  const TokenUsage used = usage();
  if (used.completion > 0) serving_.quotas.spend(info_.owner, used.prompt + used.completion, Clock::now());
}

void Generation::finished() {
  const TokenUsage used = usage();
  pay();
  serving_.metrics.count_request(info_.route, 200);
  serving_.metrics.count_answer({.prompt_tokens = used.prompt,
                                 .cached_tokens = used.cached,
                                 .generated_tokens = used.completion,
                                 .reasoning_tokens = used.reasoning,
                                 .seconds = seconds_between(info_.arrival, Clock::now())});
  if (request_.stream) {
    writer_->end_stream(used);
  } else {
    std::vector<ChoiceText> whole;
    for (const auto& choice : choices_) whole.push_back(std::move(choice->whole));
    writer_->send(whole, used);
  }
  log(200, choices_.front()->finish.detail);
  prepare_next_turn();
}

// The next turn of the conversation sees the answer as its template writes it, which is often without the
// thought: the pages of that text are not those of the answer.
void Generation::prepare_next_turn() {
  const AnswerStream& stream = choices_.front()->stream;
  const bool goes_on = request_.is_chat && request_.n == 1 && !request_.continue_final_message;
  const bool has_answer = !stream.content().empty() || !stream.calls().empty();
  if (!goes_on || !stream.has_thought() || !has_answer || !serving_.read_again) return;
  Json message = Json::object().set("role", "assistant").set("content", stream.content());
  Json calls = Json::array();
  for (const ToolCallPart& call : stream.calls()) {
    Json function = Json::object().set("name", call.name).set("arguments", call.arguments);
    Json one = Json::object().set("id", call_id(head_, "call_", 0, call.index)).set("type", "function");
    calls.push_back(std::move(one.set("function", std::move(function))));
  }
  if (calls.size() > 0) message.set("tool_calls", std::move(calls));
  ApiRequest turn;
  turn.is_chat = true;
  turn.effort = request_.effort;
  turn.chat = request_.chat;
  turn.chat.messages.push_back(std::move(message));
  turn.chat.add_generation_prompt = false;
  serving_.read_again(std::move(turn), info_.owner);
}

void Generation::late() {
  for (const auto& choice : choices_) {
    if (choice->over) continue;
    choice->stream.finish();
    complete(*choice, with_form({.reason = "length", .detail = "timeout", .stop = {}}, *choice, false));
  }
}

void Generation::failed(const ApiError& why) {
  pay();
  writer_->fail(why);
  serving_.metrics.count_request(info_.route, why.fields().status);
  log(why.fields().status, why.what());
}

void Generation::cancelled() {
  pay();
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
