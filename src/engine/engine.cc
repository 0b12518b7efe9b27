// engine/engine.cc: each step starts samples of ready prompts, plans a ragged batch, has the runner execute
// it, and turns what came out into events.
#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/random.h"
#include "engine/scheduler.h"
#include "ops/sample/history.h"

namespace r1 {
namespace {

uint64_t weights_version(const Model& model) {
  uint64_t sum = 0;
  for (const Parameter& p : model.parameters()) sum += p.version;
  return sum;
}

}  // namespace

int64_t cache_pages(int64_t max_batch, int64_t samples, int64_t longest) {
  return (std::min(max_batch, samples) + 1) * (KvCache::pages_for(longest) + 1);
}

struct Engine::Impl final : RowSink {
  Impl(const Model& m, Context& ctx, const EngineOptions& o)
      : model(m),
        options(o),
        runner(m, ctx, o.max_batch, o.lookahead),
        scheduler({.max_batch = o.max_batch,
                   .prefill_chunk = o.prefill_chunk,
                   .pages = 0,
                   .keep_prefixes = o.keep_prefixes,
                   .numerics = std::string(name_of(ctx.numerics))}),
        weights(weights_version(m)) {}

  // The demand of requests on the cache.
  struct Demand {
    int64_t longest = 0;     // tokens of the longest sequence
    int64_t samples = 0;     // of all requests
    int64_t most_pages = 1;  // of a request alone

    void add(const Request& r, const ModelConfig& config) {
      const int64_t length = static_cast<int64_t>(r.prompt.size()), room = room_of(r, config);
      longest = std::max(longest, length + room);
      samples += r.samples;
      most_pages = std::max(most_pages, Scheduler::pages_needed(length, r.samples, room));
    }
  };

  const Model& model;
  EngineOptions options;
  OpRunner runner;
  Scheduler scheduler;
  uint64_t weights;  // the version of what the pages hold

  std::map<RequestId, Request> requests;  // in progress; the scheduler holds their prompts
  RequestId next_id = 0;
  Demand demand;  // of all requests since the engine was idle
  // A sample in progress.
  struct Live {
    Sequence* sequence = nullptr;
    Completion completion;
    std::unique_ptr<TokenHistory> history;        // null if its settings do not look back
    std::unique_ptr<ConstraintState> constraint;  // null if the request has none
    bool ended = false;
    std::string failed;                      // why its request cannot go on
    std::deque<int32_t> forced;              // its next tokens, see force()
    mutable std::vector<Sampled> likeliest;  // of the draw under way
  };
  std::unordered_map<const Sequence*, Live> live;
  // The log-probs of a prompt's tokens, for requests that ask for them (Completion::prompt_logprobs).
  struct PromptLogprobs {
    std::vector<float> logprobs;
    std::vector<Sampled> likeliest;
  };
  std::map<RequestId, PromptLogprobs> prompts;
  Events events;

  const Request& request_of(const Sequence& s) const { return requests.at(s.group->id); }
  int64_t sample_of(const Sequence& s) const { return request_of(s).first_sample + s.sample; }

  void make_room(const Demand& wanted, const std::string& what);
  RequestId submit(Request request, const std::string& what, bool others_follow = false);
  void forget(RequestId id);
  void begin(Sequence& s);
  void start_samples();
  void collect(const Sequence& s, int64_t first_token);
  void settle(std::span<Sequence* const> samples);
  void step(int64_t tokens);
  Live& live_sample(RequestId id, int64_t sample);
  Completion stop(RequestId id, int64_t sample);
  void stream(std::span<const Request> list, const std::function<void(Completion&)>& on_done,
              const OnToken& on_token, const OnFailed& on_failed);
  void tell(const std::map<RequestId, int64_t>& index, const OnToken& on_token);

  RowToSample draw_of(const Sequence& s) const override { return draw_of(s, 0); }
  RowToSample draw_of(const Sequence& s, uint32_t later) const;
  std::optional<RowToSample> draw_after(const Sequence& s) const override;
  bool take(Sequence& s, const Sampled& sampled) override;
  static std::string why_none(const Live& sample, int32_t token);
  void logits(const ScheduledRow& row, std::span<const float> logits) override;
};

// Grows the cache until it meets the demand. A smaller cache changes no bit, only the number of sequences
// that run at a time.
void Engine::Impl::make_room(const Demand& wanted, const std::string& what) {
  const int64_t per_page = runner.page_bytes();
  int64_t pages = cache_pages(options.max_batch, wanted.samples, wanted.longest);
  // A cache in use is moved when it grows. Requests that come one after another would move it each time; so it
  // doubles, up to what a whole batch needs. Memory that no page has used takes no room on a CPU.
  const bool in_use = scheduler.free_pages() < scheduler.pages();
  if (in_use && pages > runner.pages()) {
    const int64_t whole = cache_pages(options.max_batch, options.max_batch, wanted.longest);
    pages = std::max(pages, std::min(2 * runner.pages(), whole));
  }
  if (options.kv_bytes > 0) pages = std::min(pages, options.kv_bytes / per_page);
  if (options.kv_bytes > 0 && pages < wanted.most_pages) {
    throw Error(
        fmt::format("{}the KV cache may use {} MiB, the longest prompt and answer need {} MiB: raise "
                    "--memory-limit or lower --max-tokens",
                    what, options.kv_bytes >> 20, wanted.most_pages * per_page >> 20));
  }
  if (pages <= runner.pages()) return;
  // A quarter of what is free is left for activations and for other programs.
  const int64_t spare = options.kv_bytes > 0 ? 0 : static_cast<int64_t>(model.memory().free_bytes()) / 4 * 3;
  if (spare > 0) pages = std::max(wanted.most_pages, std::min(pages, spare / per_page));
  if (pages <= runner.pages()) return;
  runner.resize(pages, in_use ? scheduler.taken_pages() : 0);
  scheduler.grow(pages);
}

// `others_follow`: nobody has said how long later requests will be.
Engine::RequestId Engine::Impl::submit(Request request, const std::string& what, bool others_follow) {
  check_request(request, model.config(), what);
  if (requests.empty()) demand = {};
  Demand with = demand;
  with.add(request, model.config());
  Demand wanted = with;
  if (others_follow) {
    // So that requests each of which is a little longer than the last move the cache seldom, too.
    const auto doubled = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(with.longest)));
    wanted.longest = std::max(with.longest, std::min(doubled, model.config().max_positions));
  }
  make_room(wanted, what + ": ");
  demand = with;
  const int64_t room = room_of(request, model.config());
  const size_t length = request.prompt.size();
  scheduler.submit({.id = next_id,
                    .prompt = std::exchange(request.prompt, {}),
                    .samples = request.samples,
                    .max_generated = room,
                    .reserve = options.reserve,
                    .fresh = request.prompt_logprobs,
                    .owner = request.owner});
  if (request.prompt_logprobs) {
    PromptLogprobs& p = prompts[next_id];
    p.logprobs.resize(length - 1);
    p.likeliest.resize((length - 1) * static_cast<size_t>(request.top_logprobs));
  }
  requests.emplace(next_id, std::move(request));
  return next_id++;
}

// Drops all that is known of a request, except events.
void Engine::Impl::forget(RequestId id) {
  std::erase_if(live, [&](const auto& entry) { return entry.second.completion.request == id; });
  runner.drop_logits(id);
  scheduler.cancel(id);
  prompts.erase(id);
  requests.erase(id);
}

std::optional<RowToSample> Engine::Impl::draw_after(const Sequence& s) const {
  const Live& sample = live.at(&s);
  if (sample.history || sample.constraint || !sample.forced.empty() || !sample.likeliest.empty())
    return std::nullopt;
  return draw_of(s, 1);
}

// The draw that is `later` draws after the sequence's next one.
RowToSample Engine::Impl::draw_of(const Sequence& s, uint32_t later) const {
  const Request& r = request_of(s);
  const uint32_t draw = r.key.first_draw + static_cast<uint32_t>(s.generated()) + later;
  const auto bits = philox({draw, static_cast<uint32_t>(sample_of(s)), r.key.prompt, r.key.step},
                           {static_cast<uint32_t>(r.key.seed), static_cast<uint32_t>(r.key.seed >> 32)});
  const Live& sample = live.at(&s);
  return {.logits = {},
          .params = &r.sampling,
          .uniform = uniform_from_bits(bits[0]),
          .history = sample.history.get(),
          .stop_tokens = r.stop_tokens,
          .allowed = sample.constraint ? sample.constraint->allowed() : std::span<const uint64_t>{},
          .options = {.forced = sample.forced.empty() ? -1 : sample.forced.front(),
                      .likeliest = sample.likeliest}};
}

// Returns why a draw found no token.
std::string Engine::Impl::why_none(const Live& sample, int32_t token) {
  if (token == kNotNumbers) return "the model's logits are not numbers: its weights are broken";
  const int64_t after = sample.sequence->generated();
  if (sample.constraint && sample.constraint->allows_none())
    return fmt::format("after {} tokens: {}", after, sample.constraint->why());
  return fmt::format(
      "the sampling settings forbid every token{} after {} (suppress_tokens, bad_words_ids, "
      "no_repeat_ngram_size)",
      sample.constraint ? " that the grammar allows" : "", after);
}

bool Engine::Impl::take(Sequence& s, const Sampled& sampled) {
  const Request& r = request_of(s);
  Live& sample = live.at(&s);
  Completion& c = sample.completion;
  if (sampled.token < 0) {
    sample.failed = why_none(sample, sampled.token);
    return sample.ended = true;
  }
  if (!sample.forced.empty()) sample.forced.pop_front();
  if (sample.history) sample.history->add(sampled.token);
  if (sample.constraint) sample.constraint->add(sampled.token);
  s.tokens.push_back(sampled.token);
  c.logprobs.push_back(sampled.logprob);
  c.likeliest.insert(c.likeliest.end(), sample.likeliest.begin(), sample.likeliest.end());
  const auto answer = std::span(s.tokens).subspan(s.group->prompt.size());
  if (std::ranges::find(r.stop_tokens, sampled.token) != r.stop_tokens.end()) {
    c.finish = FinishReason::stop;
  } else if (sample.constraint && sample.constraint->must_end()) {
    c.finish = FinishReason::stop;
  } else if (s.generated() >= s.group->max_generated) {
    c.finish = FinishReason::length;
  } else if (r.detect_loops && is_looping(answer)) {
    c.finish = FinishReason::loop;
  } else {
    return false;
  }
  return sample.ended = true;
}

// Row i of `logits` predicts the prompt's token row.begin + i + 1. Calls for different sequences may come
// from several threads: each writes into what belongs to its own request.
void Engine::Impl::logits(const ScheduledRow& row, std::span<const float> logits) {
  const Sequence& s = *row.sequence;
  const Request& r = request_of(s);
  PromptLogprobs& out = prompts.at(s.group->id);
  const auto V = static_cast<size_t>(model.config().vocab_size), top = static_cast<size_t>(r.top_logprobs);
  const SamplingParams plain{.temperature = r.sampling.temperature};
  std::vector<float> z(V);
  for (size_t i = 0; i * V < logits.size(); ++i) {
    const auto at = static_cast<size_t>(row.logits_from) + i;  // the index of its log-prob: token at + 1
    if (at >= out.logprobs.size()) break;
    std::ranges::copy(logits.subspan(i * V, V), z.begin());
    const DrawOptions asked{.forced = s.group->prompt[at + 1],
                            .likeliest = std::span(out.likeliest).subspan(at * top, top)};
    out.logprobs[at] = sample_token(z.data(), model.config().vocab_size, plain, 0.0f, {}, asked).logprob;
  }
}

// Makes the state of a sample if it has just started.
void Engine::Impl::begin(Sequence& s) {
  const auto [at, is_new] = live.try_emplace(&s);
  if (!is_new) return;
  Live& sample = at->second;
  sample.sequence = &s;
  sample.completion.request = s.group->id;
  sample.completion.sample = sample_of(s);
  const Request& r = request_of(s);
  sample.likeliest.resize(static_cast<size_t>(r.top_logprobs));
  if (r.constraint) sample.constraint = std::make_unique<ConstraintState>(*r.constraint, r.stop_tokens);
  if (looks_back(r.sampling)) sample.history = std::make_unique<TokenHistory>(s.group->prompt);
}

// Turns a sample's tokens from `first` on into events.
void Engine::Impl::collect(const Sequence& s, int64_t first) {
  const Completion& c = live.at(&s).completion;
  const auto prompt = static_cast<int64_t>(s.group->prompt.size());
  const int64_t top = request_of(s).top_logprobs;
  for (int64_t i = first; i < s.size(); ++i) {
    const auto likeliest = c.likeliest.begin() + (i - prompt) * top;
    events.tokens.push_back({.request = c.request,
                             .sample = c.sample,
                             .token = s.tokens[static_cast<size_t>(i)],
                             .logprob = c.logprobs[static_cast<size_t>(i - prompt)],
                             .likeliest = {likeliest, likeliest + top}});
  }
}

// Ends the samples that have made their last token, and the requests that failed.
void Engine::Impl::settle(std::span<Sequence* const> samples) {
  std::vector<RequestId> failed;
  for (Sequence* s : samples) {
    const auto at = live.find(s);
    if (!at->second.ended) continue;
    Completion& c = at->second.completion;
    const RequestId id = c.request;
    if (!at->second.failed.empty()) {
      // The samples of a request may fail together.
      if (std::ranges::find(failed, id) == failed.end())
        events.failed.push_back({.request = id, .why = std::move(at->second.failed)});
      failed.push_back(id);
      continue;
    }
    const auto prompt = static_cast<int64_t>(s->group->prompt.size());
    c.tokens.assign(s->tokens.begin() + prompt, s->tokens.end());
    if (at->second.constraint) c.complete = at->second.constraint->is_complete();
    c.cached_tokens = s->group->cached;
    if (const auto of_prompt = prompts.find(id); of_prompt != prompts.end()) {
      c.prompt_logprobs = of_prompt->second.logprobs;
      c.prompt_likeliest = of_prompt->second.likeliest;
    }
    events.ended.push_back(std::move(c));
    live.erase(at);
    runner.drop_logits(*s);
    const bool last = s->group->ended + 1 == s->group->samples;
    scheduler.finish(s);
    if (last) {
      runner.drop_logits(id);
      prompts.erase(id);
      requests.erase(id);
    }
  }
  for (const RequestId id : failed) forget(id);
}

void Engine::Impl::start_samples() {
  // A sample may end with its first token and make room for another.
  for (;;) {
    const std::vector<Sequence*> started = scheduler.start_samples();
    if (started.empty()) return;
    for (Sequence* s : started) begin(*s);
    runner.draw_first(started, *this);
    for (const Sequence* s : started) {
      if (s->group->started == s->group->samples) runner.drop_logits(s->group->id);
      collect(*s, static_cast<int64_t>(s->group->prompt.size()));
    }
    settle(started);
  }
}

void Engine::Impl::step(int64_t tokens) {
  events.tokens.clear();
  events.ended.clear();
  events.failed.clear();
  if (weights_version(model) != weights) {
    weights = weights_version(model);
    scheduler.forget_pages();
  }
  start_samples();
  if (tokens > 0 && !events.tokens.empty() && --tokens == 0) return;
  Plan plan = scheduler.plan(tokens == 0 ? runner.slice() : tokens);
  if (plan.rows.empty()) {
    R1_CHECK(scheduler.idle() || !events.ended.empty() || !events.failed.empty(),
             "the engine stopped with work left");
    return;
  }
  std::vector<Sequence*> drawing;
  std::vector<int64_t> first;  // of each, its first new token
  for (ScheduledRow& row : plan.rows) {
    const int64_t last = std::ssize(row.sequence->group->prompt) - 1;
    if (row.begin < last && prompts.contains(row.sequence->group->id)) row.logits_from = row.begin;
    if (!row.draws()) continue;
    begin(*row.sequence);
    drawing.push_back(row.sequence);
    first.push_back(row.end);
  }
  runner.run(plan.rows, plan.steps, *this);
  scheduler.advance(plan.rows);
  for (size_t i = 0; i < drawing.size(); ++i) collect(*drawing[i], first[i]);
  settle(drawing);
}

Engine::Impl::Live& Engine::Impl::live_sample(RequestId id, int64_t sample) {
  const auto at = std::ranges::find_if(live, [&](const auto& entry) {
    const Completion& c = entry.second.completion;
    return c.request == id && c.sample == sample;
  });
  if (at == live.end()) throw Error(fmt::format("request {} has no sample {} in progress", id, sample));
  return at->second;
}

Completion Engine::Impl::stop(RequestId id, int64_t sample) {
  Live& ending = live_sample(id, sample);
  Sequence* const s = ending.sequence;
  ending.ended = true;
  ending.completion.finish = FinishReason::stop;
  settle({&s, 1});
  Completion stopped = std::move(events.ended.back());
  events.ended.pop_back();
  return stopped;
}

// Tells the listener of a step's tokens, and ends the samples that it does not want to go on.
void Engine::Impl::tell(const std::map<RequestId, int64_t>& index, const OnToken& on_token) {
  for (const Events::Token& t : events.tokens) {
    if (on_token(index.at(t.request), t.sample, t.token)) continue;
    const auto ended = std::ranges::find_if(
        events.ended, [&](const Completion& c) { return c.request == t.request && c.sample == t.sample; });
    if (ended != events.ended.end()) {
      ended->finish = FinishReason::stop;
    } else {
      Completion stopped = stop(t.request, t.sample);
      events.ended.push_back(std::move(stopped));
    }
  }
}

void Engine::Impl::stream(std::span<const Request> list, const std::function<void(Completion&)>& on_done,
                          const OnToken& on_token, const OnFailed& on_failed) {
  R1_CHECK(scheduler.idle(), "the engine is busy");
  if (list.empty()) return;
  const auto what = [](int64_t i) { return "prompt " + std::to_string(i); };
  Demand all;
  for (int64_t i = 0; i < std::ssize(list); ++i) {
    check_request(list[static_cast<size_t>(i)], model.config(), what(i));
    all.add(list[static_cast<size_t>(i)], model.config());
  }
  make_room(all, "");
  const struct CancelAll {
    Impl& engine;
    ~CancelAll() {
      while (!engine.requests.empty()) engine.forget(engine.requests.begin()->first);
    }
  } cancel_all{*this};
  std::map<RequestId, int64_t> index;  // in the list
  for (int64_t next = 0; next < std::ssize(list) || !scheduler.idle();) {
    // Requests are copied a little ahead of their start.
    for (; next < std::ssize(list) && scheduler.waiting_samples() < options.max_batch; ++next)
      index.emplace(submit(list[static_cast<size_t>(next)], what(next)), next);
    step(on_token ? 1 : 0);
    if (on_token) tell(index, on_token);
    for (Completion& c : events.ended) {
      c.request = index.at(c.request);
      on_done(c);
    }
    for (const Events::Failure& f : events.failed) {
      if (!on_failed) throw Error(what(index.at(f.request)) + ": " + f.why);
      on_failed(index.at(f.request), f.why);
    }
  }
}

Engine::Engine(const Model& model, Context& ctx, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, ctx, options)) {
  R1_CHECK(ctx.tape == nullptr, "the engine samples without a tape");
}
Engine::~Engine() = default;

Engine::RequestId Engine::submit(Request request) {
  return impl_->submit(std::move(request), "the request", true);
}

void Engine::cancel(RequestId id) {
  if (impl_->requests.contains(id)) impl_->forget(id);
}

Completion Engine::stop(RequestId id, int64_t sample) {
  return impl_->stop(id, sample);
}

void Engine::force(RequestId id, int64_t sample, std::span<const int32_t> tokens) {
  if (tokens.empty()) return;
  auto& forced = impl_->live_sample(id, sample).forced;
  check_tokens(impl_->model.config(), tokens, "the forced tokens");
  forced.insert(forced.end(), tokens.begin(), tokens.end());
}

Events& Engine::step(int64_t tokens) {
  R1_CHECK(tokens >= 0, "a step of ", tokens, " tokens");
  impl_->step(tokens);
  return impl_->events;
}

void Engine::stream(std::span<const Request> requests, const OnDone& on_done, const OnToken& on_token,
                    const OnFailed& on_failed) {
  impl_->stream(requests, on_done, on_token, on_failed);
}

std::vector<Completion> Engine::run(std::span<const Request> requests, const OnToken& on_token,
                                    const OnDone& on_done) {
  std::vector<Completion> completions;
  impl_->stream(requests,
                [&](Completion& done) {
                  if (on_done) on_done(done);
                  completions.push_back(std::move(done));
                },
                on_token, {});
  std::ranges::sort(completions, {}, [](const Completion& c) { return std::pair(c.request, c.sample); });
  return completions;
}

bool Engine::idle() const {
  return impl_->scheduler.idle();
}

void Engine::weights_changed() {
  impl_->weights = weights_version(impl_->model);
  impl_->scheduler.forget_pages();
}

int64_t Engine::kv_bytes() const {
  return impl_->runner.pages() * impl_->runner.page_bytes();
}

int64_t Engine::part_bytes() const {
  return impl_->runner.part_bytes();
}

Engine::Statistics Engine::statistics() const {
  const Scheduler& s = impl_->scheduler;
  return {.pages = s.pages(),
          .free_pages = s.free_pages(),
          .cached_pages = s.cached_pages(),
          .cached_tokens = s.cached_tokens(),
          .preemptions = s.preemptions(),
          .lookahead = impl_->runner.lookahead()};
}

}  // namespace r1
