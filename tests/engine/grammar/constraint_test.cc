// Constrained samples: masks, the beginning behind a thought, and the engine's promises.
#include "engine/grammar/constraint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/random.h"
#include "engine/engine.h"
#include "engine/grammar/states.h"
#include "engine/model_bundle.h"

namespace r1::constraint_test {
namespace {

std::shared_ptr<const TokenVocabulary> small_vocabulary() {
  // 0 is special and the stop token.
  std::vector<std::string> pieces{"<eos>",    "a",          "b", "ab",   "ba",       "aab",
                                  "</think>", "</think>\n", "{", "\xe4", "\xb8\x96", "",
                                  "</",       "think",      ">", ">{",   "<think>"};
  std::vector<bool> special(pieces.size());
  special[0] = true;
  return std::make_shared<const TokenVocabulary>(std::move(pieces), special);
}

std::vector<int32_t> tokens_in(std::span<const uint64_t> mask) {
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < mask.size() * 64; ++i) {
    if ((mask[i / 64] >> (i % 64) & 1) != 0) tokens.push_back(static_cast<int32_t>(i));
  }
  return tokens;
}

Constraint constrain(std::string_view gbnf, Constraint::Begin begin = Constraint::Begin::at_once) {
  return {
      .masks = std::make_shared<const TokenMasks>(Grammar::from_gbnf(gbnf, "test.gbnf"), small_vocabulary()),
      .begin = begin};
}

TEST(Constraint, AMaskHasTheTokensWhoseBytesMayFollow) {
  const std::vector<int32_t> stop{0};
  const Constraint constraint = constrain("root ::= \"a\" \"a\"? \"b\" | \"\u4e16\"");
  ConstraintState state(constraint, stop);
  EXPECT_EQ(tokens_in(state.allowed()), (std::vector<int32_t>{1, 3, 5, 9}));
  state.add(1);
  EXPECT_EQ(tokens_in(state.allowed()), (std::vector<int32_t>{1, 2, 3}));
  state.add(2);
  EXPECT_TRUE(state.is_complete());
  EXPECT_TRUE(state.must_end());
  EXPECT_EQ(tokens_in(state.allowed()), (std::vector<int32_t>{0}));
}

TEST(Constraint, AMaskAgreesWithAcceptingEachTokenAlone) {
  Random random(3);
  const Constraint constraint =
      constrain("root ::= (\"ab\" | \"a\" \"b\"* \"a\" | \"{\" root \"b\")* \"\u4e16\"?");
  const std::vector<int32_t> stop{0};
  for (int round = 0; round < 20; ++round) {
    GrammarState state(constraint.masks->grammar());
    for (int i = 0; i < 12; ++i) {
      std::vector<int32_t> want;
      for (int32_t token = 1; token < constraint.masks->vocabulary().size(); ++token) {
        GrammarState next = state;
        const std::string_view bytes = constraint.masks->vocabulary().bytes(token);
        if (!bytes.empty() && next.accept(bytes)) want.push_back(token);
      }
      ASSERT_EQ(tokens_in(*constraint.masks->mask(state)), want);
      if (want.empty()) break;
      state.accept(constraint.masks->vocabulary().bytes(
          want[static_cast<size_t>(random.between(0, std::ssize(want) - 1))]));
    }
  }
}

TEST(Constraint, TheGrammarBeginsBehindTheThought) {
  const std::vector<int32_t> stop{0};
  const Constraint constraint = constrain("root ::= \"{\" \"a\"", Constraint::Begin::after_thought);
  ConstraintState state(constraint, stop);
  const size_t all = 17;
  EXPECT_EQ(tokens_in(state.allowed()).size(), all - 1);  // all but the stop token
  state.add(1);
  state.add(12), state.add(13);  // "</think"
  const std::vector<int32_t> open = tokens_in(state.allowed());
  EXPECT_TRUE(std::ranges::find(open, 15) != open.end());  // ">{" may begin the answer
  state.add(15);
  EXPECT_EQ(tokens_in(state.allowed()), (std::vector<int32_t>{1}));
  state.add(1);
  EXPECT_TRUE(state.must_end());

  const Constraint other = constrain("root ::= \"a\"", Constraint::Begin::after_thought);
  ConstraintState refused(other, stop);
  refused.add(12), refused.add(13);
  const std::vector<int32_t> left = tokens_in(refused.allowed());
  EXPECT_TRUE(std::ranges::find(left, 15) == left.end());
  EXPECT_TRUE(std::ranges::find(left, 14) != left.end());
  refused.add(14);
  EXPECT_FALSE(refused.is_complete());
  EXPECT_EQ(tokens_in(refused.allowed()), (std::vector<int32_t>{1}));
  ConstraintState lines(other, stop);
  lines.add(7);  // "</think>\n"
  EXPECT_EQ(tokens_in(lines.allowed()), (std::vector<int32_t>{1}));
}

TEST(Constraint, AnAnswerMayChooseToThink) {
  const std::vector<int32_t> stop{0};
  const Constraint constraint = constrain("root ::= \"a\"+ \"b\"", Constraint::Begin::after_any_thought);
  ConstraintState thinks(constraint, stop);
  EXPECT_EQ(tokens_in(thinks.allowed()), (std::vector<int32_t>{1, 3, 5, 16}));
  ConstraintState answers = thinks;
  thinks.add(16);
  EXPECT_EQ(tokens_in(thinks.allowed()).size(), 16u);
  thinks.add(2), thinks.add(6);
  EXPECT_EQ(tokens_in(thinks.allowed()), (std::vector<int32_t>{1, 3, 5}));
  answers.add(3);
  EXPECT_TRUE(answers.must_end());
}

TEST(Constraint, AVocabularyThatCannotGoOnIsSaid) {
  const Constraint constraint = constrain("root ::= \"z\"");
  ConstraintState state(constraint, {});
  EXPECT_TRUE(tokens_in(state.allowed()).empty());
  EXPECT_TRUE(state.allows_none());
  EXPECT_EQ(state.why(), "test.gbnf: no token of the model's vocabulary can go on with the text");
}

TEST(Grammar, ATableThatIsFullIsReplacedWithoutForgettingTexts) {
  const auto grammar = Grammar::from_gbnf("root ::= [a-z]{0,900000} \"!\"", "test.gbnf");
  GrammarState state(grammar);
  const auto first = state.states();
  const std::string part(20'000, 'x');
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(state.accept(part));
  EXPECT_NE(state.states(), first);
  ASSERT_TRUE(state.accept(part));
  EXPECT_FALSE(GrammarState(state).accept("1"));
  EXPECT_TRUE(state.accept("!"));
  EXPECT_TRUE(state.is_complete());
}

// The shipped model, and requests of which every second one has a constraint.
class ConstrainedEngine : public testing::Test {
 protected:
  static const ModelBundle& bundle() {
    static const ModelBundle loaded =
        ModelBundle::load(std::filesystem::path(R1_SOURCE_DIR) / "models/r1-nano");
    return loaded;
  }
  static std::vector<Completion> run(std::span<const Request> requests, const EngineOptions& options,
                                     int threads) {
    Arena arena;
    ThreadPool pool(threads);
    Context ctx{.arena = arena,
                .threads = pool,
                .tape = nullptr,
                .device = Device::cpu,
                .numerics = Numerics::cpu_f32};
    return Engine(bundle().model, ctx, options).run(requests);
  }
  static std::vector<Request> requests() {
    const auto vocabulary = TokenVocabulary::of(bundle().tokenizer, bundle().model.config().vocab_size);
    const auto object = std::make_shared<const TokenMasks>(Grammar::json_object(), vocabulary);
    const auto words = std::make_shared<const TokenMasks>(
        Grammar::from_gbnf("root ::= (\"yes\" | \"no\") (\", \" [0-9]{2,5})?", "words.gbnf"), vocabulary);
    std::vector<Request> list;
    for (uint32_t i = 0; i < 8; ++i) {
      Request& r = list.emplace_back();
      r.prompt = bundle().raw_prompt("What is " + std::to_string(i) + " + 1?");
      r.samples = 3;
      r.max_tokens = 40;
      r.sampling.temperature = i % 3 == 0 ? 0.0f : 1.0f;
      r.key = {.seed = 5, .step = 0, .prompt = i};
      r.stop_tokens = bundle().stop_tokens;
      if (i % 2 == 1) r.constraint = Constraint{.masks = i % 4 == 1 ? words : object};
    }
    return list;
  }
};

TEST_F(ConstrainedEngine, AnswersFollowTheGrammarAndSayWhetherTheyAreComplete) {
  const std::vector<Request> list = requests();
  int complete = 0, cut = 0;
  for (const Completion& c : run(list, {}, 2)) {
    const Request& r = list[static_cast<size_t>(c.request)];
    if (!r.constraint) {
      EXPECT_TRUE(c.complete);
      continue;
    }
    std::vector<int32_t> tokens = c.tokens;
    if (!tokens.empty() && std::ranges::find(r.stop_tokens, tokens.back()) != r.stop_tokens.end())
      tokens.pop_back();
    GrammarState state(r.constraint->masks->grammar());
    EXPECT_TRUE(state.accept(bundle().tokenizer.decode(tokens)));
    EXPECT_EQ(c.complete, state.is_complete());
    EXPECT_EQ(c.complete, c.finish == FinishReason::stop);
    (c.complete ? complete : cut) += 1;
  }
  EXPECT_GT(complete, 0);
}

TEST_F(ConstrainedEngine, TokensDoNotDependOnTheBatchOrOnPreemption) {
  const std::vector<Request> list = requests();
  const auto want = run(list, {.max_batch = 1}, 1);
  const int64_t page = KvCache::bytes_per_page(bundle().model.config(), DType::f32);
  for (const int threads : {1, 3}) {
    for (const EngineOptions& options : {EngineOptions{.max_batch = 24, .prefill_chunk = 5},
                                         EngineOptions{.max_batch = 24, .kv_bytes = 8 * page}}) {
      const auto got = run(list, options, threads);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
        EXPECT_EQ(got[i].logprobs, want[i].logprobs) << i;
        EXPECT_EQ(got[i].complete, want[i].complete) << i;
      }
    }
  }
}

TEST_F(ConstrainedEngine, RequestsWithoutAConstraintKeepTheirBits) {
  const std::vector<Request> list = requests();
  std::vector<Request> free;
  for (const Request& r : list) {
    if (!r.constraint) free.push_back(r);
  }
  const auto alone = run(free, {}, 1);
  std::vector<Completion> mixed;
  for (Completion& c : run(list, {}, 1)) {
    if (!list[static_cast<size_t>(c.request)].constraint) mixed.push_back(std::move(c));
  }
  ASSERT_EQ(alone.size(), mixed.size());
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(alone[i].tokens, mixed[i].tokens);
    EXPECT_EQ(alone[i].logprobs, mixed[i].logprobs);
  }
}

TEST_F(ConstrainedEngine, AGrammarForAnotherVocabularyIsRefused) {
  Request request;
  request.prompt = {1};
  request.constraint = constrain("root ::= \"a\"");
  try {
    run({&request, 1}, {}, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the grammar is for a vocabulary of 17 tokens; the model has"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace r1::constraint_test
