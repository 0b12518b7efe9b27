// A trained model, ../shared/data/weights/stories260K, compared with its float64 reference logits and its
// exact greedy text.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "engine/engine.h"
#include "formats/json.h"

namespace r1::stories_test {
namespace {

namespace fs = std::filesystem;

fs::path data() {
  const char* set = std::getenv("R1_TEST_DATA");
  return fs::path(set != nullptr ? set : R1_SOURCE_DIR "/../shared/data") / "weights/stories260K";
}

// llama2.c's vocabulary file: i32 longest piece, then for each token f32 score, i32 length, bytes.
std::vector<std::string> read_pieces(const fs::path& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> pieces;
  size_t at = 4;
  while (at + 8 <= bytes.size()) {
    int32_t length = 0;
    std::memcpy(&length, bytes.data() + at + 4, 4);
    pieces.push_back(bytes.substr(at + 8, static_cast<size_t>(length)));
    std::string& piece = pieces.back();
    if (piece.size() == 6 && piece.starts_with("<0x"))
      piece = static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
    at += 8 + static_cast<size_t>(length);
  }
  return pieces;
}

std::vector<int32_t> ids(const Json& array) {
  std::vector<int32_t> out;
  for (const Json& id : array.items()) out.push_back(static_cast<int32_t>(id.integer()));
  return out;
}

class Stories : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(data()))
      GTEST_SKIP() << data() << " is missing: the test of a real trained model is SKIPPED";
  }
  Arena arena;
  ThreadPool threads{2};
  Context ctx{.arena = arena, .threads = threads};
};

TEST_F(Stories, LogitsAgreeWithTheFloat64Reference) {
  const Model model = Model::load(data());
  const int64_t V = model.config().vocab_size;
  const Json reference = read_json(data() / "reference_float64.json");
  int64_t positions = 0;
  for (const Json& entry : reference.items()) {
    std::vector<int32_t> tokens = ids(entry.at("prompt_ids"));
    const std::vector<int32_t> greedy = ids(entry.at("greedy_ids"));
    const auto& rows = entry.at("logits_first_positions").items();
    // Reference logits start at position 0. Those after the prompt follow the greedy ids.
    std::vector<int32_t> all =
        greedy.size() > tokens.size() && std::equal(tokens.begin(), tokens.end(), greedy.begin()) ? greedy
                                                                                                  : tokens;
    all.resize(std::min(all.size(), rows.size()));
    const std::span<const int32_t> row(all);
    ArenaScope scope(arena);
    const WholeBatch batch = whole_batch({&row, 1});
    const KvCache kv(model.config(), batch.page_count, ctx);
    const Tensor hidden = model.forward(ctx, batch.view(), kv);
    std::vector<float> logits(all.size() * static_cast<size_t>(V));
    matmul_into(ctx, hidden.f32(), static_cast<int64_t>(all.size()), model.head(), logits.data());
    for (size_t t = 0; t < all.size(); ++t) {
      double low = 1e9, high = -1e9, worst = 0;
      for (int64_t n = 0; n < V; ++n) {
        const double want = rows[t].at(static_cast<size_t>(n)).number();
        low = std::min(low, want);
        high = std::max(high, want);
        worst = std::max(worst,
                         std::abs(want - static_cast<double>(
                                             logits[t * static_cast<size_t>(V) + static_cast<size_t>(n)])));
      }
      EXPECT_LT(worst / (high - low), 1e-4) << "position " << t;
      ++positions;
    }
  }
  EXPECT_GT(positions, 3);
}

TEST_F(Stories, GreedyTextIsExact) {
  const Model model = Model::load(data());
  const std::vector<std::string> pieces = read_pieces(data() / "tok512.bin");
  std::string want = read_file(data() / "expected_greedy_257.txt");
  Request r;
  r.prompt = {1};
  r.max_tokens = 257;
  r.sampling.temperature = 0;
  r.stop_tokens = {1};
  std::string text;
  const auto completions = Engine(model, ctx, {}).run({&r, 1});
  for (const int32_t id : completions[0].tokens) {
    if (id != 1) text += pieces.at(static_cast<size_t>(id));
  }
  while (!want.empty() && want.back() == '\n') want.pop_back();
  text.erase(
      0, text.find_first_not_of(' '));  // the piece after the first token carries a space that the text drops
  EXPECT_EQ(text, want);

  const Json reference = read_json(data() / "reference_float64.json");
  const std::vector<int32_t> greedy = ids(reference.at(0).at("greedy_ids"));
  for (size_t i = 1; i < greedy.size(); ++i)
    EXPECT_EQ(completions[0].tokens.at(i - 1), greedy[i]) << "token " << i;
}

}  // namespace
}  // namespace r1::stories_test
