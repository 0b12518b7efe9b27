// Completions arrive as they end, and a request may ask for a part of the samples.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "engine/engine.h"
#include "tests/model/golden_models.h"

namespace r1::stream_test {
namespace {

std::vector<Request> some_requests() {
  std::vector<Request> list(3);
  for (uint32_t i = 0; i < 3; ++i) {
    list[i].prompt = {3, 4, static_cast<int32_t>(5 + i)};
    list[i].samples = 4;
    list[i].max_tokens = 6 + i;
    list[i].key = {.seed = 3, .step = 0, .prompt = i};
    if (i == 1) list[i].sampling.repetition_penalty = 1.4f;  // a setting that depends on earlier tokens
  }
  return list;
}

struct Machine {
  Model model = Model::load(std::filesystem::path(test::kGoldenModels) / "qwen2-tied");
  Arena arena;
  ThreadPool threads{2};
  Context ctx{.arena = arena, .threads = threads};
  Engine engine{model, ctx, {.max_batch = 3}};
};

TEST(EngineStream, HandsOverEverySampleOnceAsRunReturnsIt) {
  Machine machine;
  const std::vector<Request> requests = some_requests();
  const std::vector<Completion> want = machine.engine.run(requests);
  ASSERT_EQ(want.size(), 12u);
  std::map<std::pair<int64_t, int64_t>, Completion> got;
  machine.engine.stream(requests, [&](const Completion& c) {
    EXPECT_TRUE(got.emplace(std::pair(c.request, c.sample), c).second) << c.request << " " << c.sample;
  });
  ASSERT_EQ(got.size(), want.size());
  for (const Completion& c : want) {
    const Completion& same = got.at({c.request, c.sample});
    EXPECT_EQ(same.tokens, c.tokens);
    EXPECT_EQ(same.logprobs, c.logprobs);
    EXPECT_EQ(same.finish, c.finish);
  }
}

// --resume is exact because a sample does not depend on the samples that run beside it.
TEST(EngineStream, APartOfARequestHasTheSamplesOfTheWhole) {
  Machine machine;
  const std::vector<Request> requests = some_requests();
  const std::vector<Completion> want = machine.engine.run(requests);
  const std::set<int64_t> finished{1, 3};
  std::vector<Request> parts;
  std::vector<int64_t> whole;
  for (int64_t i = 0; i < 3; ++i) {
    for (Request& part : unfinished_part(requests[static_cast<size_t>(i)],
                                         [&](int64_t sample) { return finished.contains(sample); })) {
      parts.push_back(std::move(part));
      whole.push_back(i);
    }
  }
  ASSERT_EQ(parts.size(), 6u);
  const std::vector<Completion> got = machine.engine.run(parts);
  ASSERT_EQ(got.size(), 6u);
  for (const Completion& c : got) {
    const int64_t request = whole[static_cast<size_t>(c.request)];
    EXPECT_TRUE(c.sample == 0 || c.sample == 2) << c.sample;
    const Completion& same = want[static_cast<size_t>(request * 4 + c.sample)];
    EXPECT_EQ(c.tokens, same.tokens);
    EXPECT_EQ(c.logprobs, same.logprobs);
  }
}

TEST(EngineStream, UnfinishedPartsAreRunsOfNeighbours) {
  Request request;
  request.samples = 7;
  const auto parts = [&](std::set<int64_t> finished) {
    std::vector<std::pair<int64_t, int64_t>> out;
    for (const Request& part : unfinished_part(request, [&](int64_t s) { return finished.contains(s); }))
      out.emplace_back(part.first_sample, part.samples);
    return out;
  };
  using Parts = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(parts({}), (Parts{{0, 7}}));
  EXPECT_EQ(parts({0, 1, 2, 3, 4, 5, 6}), Parts{});
  EXPECT_EQ(parts({0, 3, 6}), (Parts{{1, 2}, {4, 2}}));
  EXPECT_EQ(parts({2, 3}), (Parts{{0, 2}, {4, 3}}));
}

}  // namespace
}  // namespace r1::stream_test
