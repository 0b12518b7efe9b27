// The engine's steps: requests come, go, are preempted and share pages at any time, and every answer has the
// bits of that request alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "engine/engine.h"
#include "tests/model/golden_models.h"

namespace r1::steps_test {
namespace {

using Key = std::pair<int64_t, int64_t>;  // request, sample

// A tiny model with a context of several pages.
Model long_model() {
  ModelConfig config = Model::load(test::kGoldenModels / "llama-biases").config();
  config.max_positions = 400;
  return Model::create(config, 3);
}

struct Machine {
  explicit Machine(const EngineOptions& options, int threads = 1, Model m = long_model())
      : model(std::move(m)), pool(threads), engine(model, ctx, options) {}
  Model model;
  Arena arena;
  ThreadPool pool;
  Context ctx{.arena = arena, .threads = pool};
  Engine engine;

  // Steps until nothing is in progress; returns all that happened.
  Events finish(int64_t tokens = 1) {
    Events all;
    while (!engine.idle()) {
      Events& now = engine.step(tokens);
      std::ranges::copy(now.tokens, std::back_inserter(all.tokens));
      std::ranges::copy(now.ended, std::back_inserter(all.ended));
      std::ranges::copy(now.failed, std::back_inserter(all.failed));
    }
    return all;
  }
};

int64_t page_bytes(const Model& model) {
  return KvCache::bytes_per_page(model.config(), DType::f32);
}

void expect_same(const Completion& got, const Completion& want) {
  EXPECT_EQ(got.tokens, want.tokens) << "request " << got.request << ", sample " << got.sample;
  EXPECT_EQ(got.logprobs, want.logprobs) << "request " << got.request << ", sample " << got.sample;
  EXPECT_EQ(got.finish, want.finish);
}

Request random_request(Random& random, uint32_t index) {
  Request r;
  // Half of the prompts begin alike.
  const int64_t alike = random.below(2) == 0 ? random.between(30, 70) : 0, more = random.between(1, 40);
  for (int64_t i = 0; i < alike; ++i) r.prompt.push_back(static_cast<int32_t>(2 + i % 37));
  for (int64_t i = 0; i < more; ++i) r.prompt.push_back(static_cast<int32_t>(random.between(2, 40)));
  r.samples = random.below(2) == 0 ? 1 : random.between(2, 4);
  r.first_sample = random.below(3);
  r.max_tokens = random.between(1, 50);
  r.sampling.temperature = random.below(4) == 0 ? 0.0f : 0.9f;
  if (random.below(3) == 0) r.sampling.top_k = 15;
  if (random.below(3) == 0) {
    r.sampling.repetition_penalty = 1.3f;
    r.sampling.no_repeat_ngram = 3;
  }
  r.key = {.seed = 5, .step = 1, .prompt = index, .first_draw = static_cast<uint32_t>(random.below(3))};
  if (random.below(2) == 0) r.stop_tokens = {1, 7};
  if (random.below(4) == 0) r.owner = "anna";
  return r;
}

// 500 random submits, cancels and preemptions with a cache of a few pages, or 10,000 with R1_LONG=1; and now
// and then the weights change (to equal ones).
TEST(EngineSteps, EveryAnswerUnderMemoryPressureIsThatOfItsRequestAlone) {
  const char* is_long = std::getenv("R1_LONG");
  const int64_t wanted = is_long != nullptr && std::string(is_long) == "1" ? 10000 : 500;
  for (const int threads : {1, 2}) {
    Model model = long_model();
    const int64_t page = page_bytes(model);
    Machine machine({.max_batch = 12, .prefill_chunk = 48, .kv_bytes = 16 * page, .lookahead = 5}, threads);
    Machine alone({.max_batch = 1, .prefill_chunk = 1000, .keep_prefixes = false});
    Random random(11);
    std::map<int64_t, Request> requests;
    std::map<Key, Completion> ended;
    std::map<Key, Completion> tokens;  // from the events of tokens
    std::map<int64_t, int64_t> unfinished;
    const auto take = [&](const Events& events) {
      EXPECT_TRUE(events.failed.empty());
      for (const Events::Token& t : events.tokens) {
        tokens[{t.request, t.sample}].tokens.push_back(t.token);
        tokens[{t.request, t.sample}].logprobs.push_back(t.logprob);
      }
      for (const Completion& c : events.ended) {
        ASSERT_TRUE(ended.emplace(Key(c.request, c.sample), c).second) << "a sample ended twice";
        if (--unfinished.at(c.request) == 0) unfinished.erase(c.request);
      }
    };
    int64_t submitted = 0, cancelled = 0;
    for (bool enough = false; !enough || !machine.engine.idle();) {
      enough = enough || submitted + cancelled + machine.engine.statistics().preemptions >= wanted;
      const int64_t what = random.below(100);
      if (what < 25 && !enough) {
        Request r = random_request(random, static_cast<uint32_t>(submitted++));
        const int64_t id = machine.engine.submit(r);
        unfinished[id] = r.samples;
        requests[id] = std::move(r);
      } else if (what < 27 && !enough && !unfinished.empty()) {
        auto victim = unfinished.begin();
        std::advance(victim, random.below(std::ssize(unfinished)));
        machine.engine.cancel(victim->first);
        for (int64_t i = 0; i < 10; ++i) ended.erase({victim->first, i});
        requests.erase(victim->first);
        unfinished.erase(victim);
        ++cancelled;
      } else if (what == 28) {
        machine.engine.weights_changed();
      } else {
        take(machine.engine.step(random.below(4)));
      }
    }
    const Engine::Statistics statistics = machine.engine.statistics();
    EXPECT_GT(statistics.preemptions, wanted / 10) << "the pages suffice: nothing is tested";
    EXPECT_GT(statistics.cached_tokens, wanted) << "no page is shared: nothing is tested";
    EXPECT_GT(cancelled, wanted / 50);
    EXPECT_EQ(statistics.free_pages + statistics.cached_pages, statistics.pages);
    int64_t samples = 0;
    for (const auto& [id, request] : requests) {
      for (const Completion& want : alone.engine.run({&request, 1})) {
        const auto got = ended.find({id, want.sample});
        ASSERT_NE(got, ended.end()) << "request " << id << " lost sample " << want.sample;
        expect_same(got->second, want);
        EXPECT_EQ(tokens.at({id, want.sample}).tokens, want.tokens) << "the events leave out a token";
        EXPECT_EQ(tokens.at({id, want.sample}).logprobs, want.logprobs);
        ++samples;
      }
    }
    EXPECT_EQ(samples, std::ssize(ended));
    std::printf(
        "%d thread(s): %lld submitted, %lld samples, %lld preemptions, %lld cached tokens, %lld cancelled\n",
        threads, static_cast<long long>(submitted), static_cast<long long>(samples),
        static_cast<long long>(statistics.preemptions), static_cast<long long>(statistics.cached_tokens),
        static_cast<long long>(cancelled));
  }
}

Request question(int64_t tokens, int32_t last = 5) {
  Request r;
  for (int64_t i = 0; i < tokens; ++i) r.prompt.push_back(static_cast<int32_t>(2 + i % 30));
  r.prompt.back() = last;
  r.max_tokens = 20;
  r.sampling.temperature = 0.9f;
  return r;
}

TEST(EngineSteps, ASecondRequestContinuesFromThePagesOfTheFirst) {
  Machine machine({});
  const Request first = question(100, 5), second = question(100, 9);
  machine.engine.run({&first, 1});
  EXPECT_EQ(machine.engine.statistics().cached_tokens, 0);
  const auto got = machine.engine.run({&second, 1});
  EXPECT_EQ(machine.engine.statistics().cached_tokens, 96);
  expect_same(got[0], Machine({.keep_prefixes = false}).engine.run({&second, 1})[0]);
}

// The next turn's prompt is longer than the cache was made for: it grows and keeps its pages.
TEST(EngineSteps, TheCacheGrowsAndKeepsItsPages) {
  Machine machine({.max_batch = 1});
  Request turn = question(60);
  const auto said = machine.engine.run({&turn, 1})[0].tokens;
  const int64_t before = machine.engine.kv_bytes();
  turn.prompt.insert(turn.prompt.end(), said.begin(), said.end());
  for (int i = 0; i < 150; ++i) turn.prompt.push_back(3 + i % 5);
  const auto got = machine.engine.run({&turn, 1});
  EXPECT_GT(machine.engine.kv_bytes(), before);
  EXPECT_EQ(machine.engine.statistics().cached_tokens, 64)
      << "the first turn's full pages, its answer included";
  expect_same(got[0], Machine({.keep_prefixes = false}).engine.run({&turn, 1})[0]);
}

// Weights change between two requests with one prefix: the second is computed anew. Parameter::version tells
// the engine, or its caller does.
TEST(EngineSteps, ChangedWeightsAreNeverMixedWithCachedPages) {
  for (const bool told : {false, true}) {
    Machine machine({});
    const Request first = question(100, 5), second = question(100, 9);
    machine.engine.run({&first, 1});
    Model other = Model::create(machine.model.config(), 4);
    if (told) {
      // Values change behind the versions' back.
      for (size_t i = 0; i < other.parameters().size(); ++i) {
        Parameter& to = machine.model.parameters()[i];
        const Tensor& from = other.parameters()[i].value;
        std::ranges::copy(from.values(), to.value.values().begin());
        ++to.version;  // the kernels' packed copies need it
      }
      machine.engine.weights_changed();
    } else {
      machine.model.copy_weights_from(other);
    }
    const auto got = machine.engine.run({&second, 1});
    EXPECT_EQ(machine.engine.statistics().cached_tokens, 0) << "told: " << told;
    expect_same(got[0], Machine({}, 1, std::move(other)).engine.run({&second, 1})[0]);
  }
}

// What is in progress when the weights change goes on from pages of the new weights.
TEST(EngineSteps, ChangedWeightsReachWhatIsInProgress) {
  Machine machine({});
  Request r = question(40);
  r.samples = 3;
  r.sampling.temperature = 0;
  machine.engine.submit(r);
  std::map<int64_t, std::vector<int32_t>> before;
  for (int i = 0; i < 9; ++i) {
    for (const Events::Token& t : machine.engine.step(1).tokens) before[t.sample].push_back(t.token);
  }
  ASSERT_EQ(before.size(), 3u);
  machine.model.copy_weights_from(Model::create(machine.model.config(), 4));
  const Events rest = machine.finish();
  ASSERT_EQ(rest.ended.size(), 3u);
  Machine fresh({}, 1, Model::create(machine.model.config(), 4));
  for (const Completion& c : rest.ended) {
    const std::vector<int32_t>& old = before.at(c.sample);
    Request goes_on = r;
    goes_on.samples = 1;
    goes_on.prompt.insert(goes_on.prompt.end(), old.begin(), old.end());
    goes_on.max_tokens = r.max_tokens - std::ssize(old);
    const Completion want = fresh.engine.run({&goes_on, 1})[0];
    EXPECT_EQ(std::vector(c.tokens.begin() + std::ssize(old), c.tokens.end()), want.tokens);
    EXPECT_EQ(std::vector(c.logprobs.begin() + std::ssize(old), c.logprobs.end()), want.logprobs);
  }
}

TEST(EngineSteps, OwnersShareNoPages) {
  Machine machine({});
  Request r = question(100);
  machine.engine.run({&r, 1});
  r.owner = "anna";
  machine.engine.run({&r, 1});
  EXPECT_EQ(machine.engine.statistics().cached_tokens, 0);
  machine.engine.run({&r, 1});
  EXPECT_EQ(machine.engine.statistics().cached_tokens, 96);
}

// An answer that is continued as a prompt draws on as if it had not been cut, and an answer of a later turn
// does not use the first turn's random numbers again.
TEST(EngineSteps, FirstDrawGoesOnWithTheRandomNumbers) {
  Machine machine({});
  Request whole = question(10);
  whole.max_tokens = 60;
  whole.key.seed = 8;
  const Completion want = machine.engine.run({&whole, 1})[0];
  ASSERT_EQ(want.tokens.size(), 60u);
  for (const int64_t cut : {1, 22, 59}) {
    Request rest = whole;
    rest.prompt.insert(rest.prompt.end(), want.tokens.begin(), want.tokens.begin() + cut);
    rest.max_tokens = 60 - cut;
    const Completion again = machine.engine.run({&rest, 1})[0];
    rest.key.first_draw = static_cast<uint32_t>(cut);
    const Completion got = machine.engine.run({&rest, 1})[0];
    EXPECT_EQ(got.tokens, std::vector(want.tokens.begin() + cut, want.tokens.end()));
    EXPECT_EQ(got.logprobs, std::vector(want.logprobs.begin() + cut, want.logprobs.end()));
    if (cut != 22) continue;
    EXPECT_NE(again.tokens, got.tokens) << "first_draw has no effect";
  }
}

TEST(EngineSteps, NaNEndsOneRequestAndTheOthersGoOn) {
  for (const int threads : {1, 2}) {
    Model broken = long_model();
    const Request good = question(30, 5);
    Request bad = question(30, 40);  // only this request has token 40
    bad.samples = 20;
    Request also_good = question(50, 6);
    also_good.samples = 20;
    for (Request* r : {&bad, &also_good}) r->sampling.suppress_tokens = {40};
    Request g = good;
    g.sampling.suppress_tokens = {40};
    // The embedding of token 40; the head is another matrix.
    const Tensor& embedding = broken.parameters()[0].value;
    embedding.f32()[40 * embedding.dim(1)] = NAN;
    Machine machine({}, threads, broken.clone());
    const std::vector<Request> list{g, also_good};
    const auto want = Machine({}, 1, std::move(broken)).engine.run(list);
    const int64_t first = machine.engine.submit(g), failing = machine.engine.submit(bad),
                  last = machine.engine.submit(also_good);
    const Events events = machine.finish(threads == 1 ? 1 : 0);
    ASSERT_EQ(events.failed.size(), 1u);
    EXPECT_EQ(events.failed[0].request, failing);
    EXPECT_EQ(events.failed[0].why, "the model's logits are not numbers: its weights are broken");
    ASSERT_EQ(events.ended.size(), 21u);
    for (const Completion& c : events.ended) {
      ASSERT_TRUE(c.request == first || c.request == last);
      expect_same(c, want[c.request == first ? 0 : static_cast<size_t>(1 + c.sample)]);
    }
    // A whole list fails with the prompt's name, and leaves an engine that works.
    const std::vector<Request> all{g, bad, also_good};
    try {
      machine.engine.run(all);
      FAIL();
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), "prompt 1: the model's logits are not numbers: its weights are broken");
    }
    EXPECT_TRUE(machine.engine.idle());
    expect_same(machine.engine.run({&g, 1})[0], want[0]);
  }
}

TEST(EngineSteps, ForbiddenTokensEndOneRequest) {
  Machine machine({});
  Request stuck = question(10);
  for (int32_t token = 0; token < 41; ++token) stuck.sampling.suppress_tokens.push_back(token);
  const Request fine = question(10);
  const int64_t first = machine.engine.submit(stuck);
  machine.engine.submit(fine);
  const Events events = machine.finish();
  ASSERT_EQ(events.failed.size(), 1u);
  EXPECT_EQ(events.failed[0].request, first);
  EXPECT_EQ(events.failed[0].why,
            "the sampling settings forbid every token after 0 (suppress_tokens, bad_words_ids, "
            "no_repeat_ngram_size)");
  EXPECT_EQ(events.ended.size(), 1u);
}

std::string refusal(Engine& engine, const Request& request) {
  try {
    engine.submit(request);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(EngineSteps, AnImpossibleRequestIsRefusedAtSubmit) {
  Model model = long_model();
  const int64_t page = page_bytes(model);
  Machine machine({.kv_bytes = 4 * page});
  const auto refused = [&](auto&& change) {
    Request r = question(10);
    change(r);
    return refusal(machine.engine, r);
  };
  EXPECT_EQ(refused([](Request& r) { r.prompt.clear(); }), "the request: has no tokens");
  EXPECT_EQ(refused([](Request& r) { r.prompt[3] = 41; }),
            "the request: token 41 is outside the vocabulary of 41");
  EXPECT_EQ(refused([](Request& r) { r.prompt.assign(400, 3); }),
            "the request: is 400 tokens long and leaves no room for an answer in the model's context of 400");
  EXPECT_EQ(refused([](Request& r) { r.sampling.max_length = 10; }),
            "the request: is 10 tokens long and leaves no room for an answer within max_length = 10: raise "
            "max_length, "
            "or give the number of new tokens");
  EXPECT_EQ(refused([](Request& r) { r.max_tokens = 0; }),
            "the request: max_tokens is 0; it must be at least 1");
  EXPECT_EQ(refused([](Request& r) { r.samples = 0; }), "the request: samples is 0; it must be at least 1");
  EXPECT_EQ(refused([](Request& r) { r.sampling.temperature = -1; }),
            "the request: temperature is -1; it must be between 0 and 1000");
  EXPECT_EQ(refused([](Request& r) { r.sampling.temperature = NAN; }),
            "the request: temperature is nan; it must be between 0 and 1000");
  EXPECT_EQ(refused([](Request& r) { r.sampling.top_p = 1.5f; }),
            "the request: top_p is 1.5; it must be between 0 and 1");
  EXPECT_EQ(refused([](Request& r) { r.sampling.suppress_tokens = {41}; }),
            "the request: suppress_tokens has token 41; the model's token ids are 0 to 40");
  EXPECT_EQ(refused([](Request& r) {
              r.stop_tokens = {-1};
              r.sampling.min_new_tokens = 2;
            }),
            "the request: stop_tokens has token -1; the model's token ids are 0 to 40");
  EXPECT_EQ(refused([](Request& r) { r.first_sample = -1; }),
            "the request: asks for samples -1 to -1; they must be between 0 and 4294967294");
  EXPECT_EQ(refused([](Request& r) { r.max_tokens = 119; }),
            "the request: the KV cache may use 0 MiB, the longest prompt and answer need 0 MiB: raise "
            "--memory-limit "
            "or lower --max-tokens");
  EXPECT_TRUE(machine.engine.idle());
  EXPECT_EQ(refused([](Request& r) { r.max_tokens = 118; }), "accepted");
  EXPECT_EQ(machine.finish().ended.size(), 1u);
}

// The trainer's setting: what was started is never computed twice, whatever the memory.
TEST(EngineSteps, WhatReservesIsNeverPreempted) {
  Model model = long_model();
  const int64_t page = page_bytes(model);
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(question(20 + 9 * i));
    requests.back().samples = 5;
    requests.back().max_tokens = 60;
    requests.back().key.prompt = static_cast<uint32_t>(i);
  }
  const auto want = Machine({}).engine.run(requests);
  for (const bool reserve : {true, false}) {
    Machine machine({.max_batch = 16, .kv_bytes = 14 * page, .reserve = reserve});
    const auto got = machine.engine.run(requests);
    for (size_t i = 0; i < want.size(); ++i) expect_same(got[i], want[i]);
    EXPECT_EQ(machine.engine.statistics().preemptions == 0, reserve);
  }
}

TEST(EngineSteps, StopEndsOneSampleAndKeepsWhatItHas) {
  Machine machine({});
  Request r = question(40);
  r.samples = 3;
  const auto want = machine.engine.run({&r, 1});
  const int64_t id = machine.engine.submit(r);
  EXPECT_THROW(machine.engine.stop(id, 1), Error) << "it has not started";
  std::vector<int32_t> made;
  while (made.size() < 5) {
    for (const Events::Token& t : machine.engine.step(1).tokens) {
      if (t.sample == 1) made.push_back(t.token);
    }
  }
  const Completion stopped = machine.engine.stop(id, 1);
  EXPECT_EQ(stopped.finish, FinishReason::stop);
  EXPECT_EQ(stopped.tokens, made);
  EXPECT_EQ(stopped.tokens, std::vector(want[1].tokens.begin(), want[1].tokens.begin() + 5));
  const Events rest = machine.finish();
  ASSERT_EQ(rest.ended.size(), 2u);
  EXPECT_EQ(rest.ended[0].tokens, want[static_cast<size_t>(rest.ended[0].sample)].tokens);
  EXPECT_THROW(machine.engine.stop(id, 0), Error) << "it has ended";
}

TEST(EngineSteps, AStepMakesNoMoreTokensThanAskedFor) {
  for (const int threads : {1, 2}) {
    Machine machine({}, threads);
    Request r = question(40);
    r.samples = 16;
    machine.engine.submit(r);
    for (const int64_t tokens : {1, 2, 5, 1, 3}) {
      std::map<int64_t, int64_t> made;
      for (const Events::Token& t : machine.engine.step(tokens).tokens) ++made[t.sample];
      for (const auto& [sample, n] : made) EXPECT_LE(n, tokens);
    }
  }
}

// An error of a callback ends the whole call, and nothing is left behind.
TEST(EngineSteps, AThrowingListenerLeavesAnIdleEngine) {
  Machine machine({});
  Request r = question(40);
  r.samples = 4;
  const auto want = machine.engine.run({&r, 1});
  EXPECT_THROW(machine.engine.run({&r, 1}, {}, [](const Completion&) { throw Error("enough"); }), Error);
  EXPECT_TRUE(machine.engine.idle());
  EXPECT_THROW(machine.engine.run({&r, 1}, [](int64_t, int64_t, int32_t) -> bool { throw Error("enough"); }),
               Error);
  EXPECT_TRUE(machine.engine.idle());
  const auto got = machine.engine.run({&r, 1});
  for (size_t i = 0; i < want.size(); ++i) expect_same(got[i], want[i]);
}

// Tokens that a sample is told are part of it, with the model's log-probs, and the draws behind them are
// those of their positions. The likeliest tokens that are reported change nothing.
TEST(EngineSteps, AForcedTokenTakesThePlaceOfADrawnOne) {
  Request plain;
  for (int32_t i = 0; i < 40; ++i) plain.prompt.push_back(2 + i % 30);
  plain.max_tokens = 12;
  plain.samples = 2;
  plain.key = {.seed = 9};
  Machine machine({.max_batch = 4});
  const auto run = [&](const Request& request, int64_t when, std::vector<int32_t> forced) {
    const int64_t id = machine.engine.submit(request);
    std::vector<Completion> ended;
    std::map<int64_t, int64_t> made;  // by sample
    while (!machine.engine.idle()) {
      Events& events = machine.engine.step(1);
      std::ranges::copy(events.ended, std::back_inserter(ended));
      std::vector<int64_t> ready;
      for (const Events::Token& t : events.tokens) {
        EXPECT_EQ(std::ssize(t.likeliest), request.top_logprobs);
        if (++made[t.sample] == when) ready.push_back(t.sample);
      }
      for (const int64_t sample : ready) machine.engine.force(id, sample, forced);
    }
    std::ranges::sort(ended, {}, &Completion::sample);
    return ended;
  };
  const std::vector<Completion> want = run(plain, 0, {});
  Request asks = plain;
  asks.top_logprobs = 4;
  const std::vector<Completion> same = run(asks, 3, {want[0].tokens[3], want[0].tokens[4]});
  EXPECT_EQ(same[0].tokens, want[0].tokens);  // forced to what it would have drawn
  EXPECT_EQ(same[0].logprobs, want[0].logprobs);
  EXPECT_EQ(same[0].likeliest.size(), 4u * 12u);
  const int32_t other = want[0].tokens[3] == 5 ? 6 : 5;
  const std::vector<Completion> changed = run(plain, 3, {other});
  ASSERT_EQ(changed.size(), 2u);
  for (const Completion& c : changed) {
    EXPECT_EQ(c.tokens[3], other);
    EXPECT_EQ(c.tokens.size(), 12u);
    // The rest is drawn as for a request that begins with these tokens.
    Request rest = plain;
    rest.samples = 1;
    rest.first_sample = c.sample;
    rest.prompt.insert(rest.prompt.end(), c.tokens.begin(), c.tokens.begin() + 4);
    rest.max_tokens = 8;
    rest.key.first_draw = 4;
    Machine alone({.max_batch = 1, .keep_prefixes = false});
    const Completion tail = alone.engine.run(std::span(&rest, 1)).front();
    EXPECT_TRUE(std::ranges::equal(tail.tokens, std::span(c.tokens).subspan(4)));
    EXPECT_TRUE(std::ranges::equal(tail.logprobs, std::span(c.logprobs).subspan(4)));
  }
  EXPECT_THROW(machine.engine.force(0, 0, std::vector<int32_t>{1}), Error);  // nothing is in progress
}

TEST(EngineSteps, ACompletionTellsHowMuchOfItsPromptWasCached) {
  Request request;
  for (int32_t i = 0; i < 100; ++i) request.prompt.push_back(2 + i % 30);
  request.max_tokens = 4;
  Machine machine({.max_batch = 4});
  const auto cached = [&](const Request& r) {
    machine.engine.submit(r);
    return machine.finish().ended.front().cached_tokens;
  };
  EXPECT_EQ(cached(request), 0);
  EXPECT_EQ(cached(request), 96);
  Request longer = request;
  longer.prompt[70] = 1;
  EXPECT_EQ(cached(longer), 64);
  Request foreign = request;
  foreign.owner = "ben";
  EXPECT_EQ(cached(foreign), 0);
}

}  // namespace
}  // namespace r1::steps_test
