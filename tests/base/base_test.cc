// base/: files survive crashes, random numbers depend on nothing but their key, and scalar functions give
// the same bits everywhere.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/math.h"
#include "base/normal_numbers.h"
#include "base/random.h"
#include "base/text_util.h"
#include "base/threads.h"
#include "tests/base/kill_at.h"

namespace r1::base_test {
namespace {

namespace fs = std::filesystem;

class TempDir : public testing::Test {
 protected:
  TempDir() : path(fs::temp_directory_path() / ("r1_base_test_" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~TempDir() override { fs::remove_all(path); }
  fs::path path;
};

using Files = TempDir;

TEST(Random, PhiloxGivesThePublishedVectors) {
  // Known answers of the Random123 distribution for philox4x32-10.
  const auto zero = philox({0, 0, 0, 0}, {0, 0});
  EXPECT_EQ(zero, (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const auto ones = philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u});
  EXPECT_EQ(ones, (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, StreamsAreIndependentAndRepeat) {
  Random a(7, 1), b(7, 1), c(7, 2), d(8, 1);
  std::set<uint32_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const uint32_t x = a.next_u32();
    EXPECT_EQ(x, b.next_u32());
    seen.insert({x, c.next_u32(), d.next_u32()});
  }
  EXPECT_GT(seen.size(), 2990u);
}

TEST(Random, BelowIsUniform) {
  Random random(1);
  std::array<int, 7> count{};
  for (int i = 0; i < 70000; ++i) ++count[static_cast<size_t>(random.below(7))];
  for (const int n : count) EXPECT_NEAR(n, 10000, 400);
}

TEST(Random, NormalHasTheRightMoments) {
  Random random(3);
  double sum = 0, squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1, 0.01);
}

TEST(Random, NormalNumbersAreThoseOfTheStreamFromAnyPlace) {
  for (const uint64_t stream : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 40}) {
    Random random(77, stream);
    std::vector<float> want(300), whole(300), part(40);
    for (float& v : want) v = static_cast<float>(random.normal() * 0.02);
    normal_numbers({.seed = 77, .stream = stream}, 0.02, whole);
    EXPECT_EQ(whole, want);
    normal_numbers({.seed = 77, .stream = stream, .first = 111}, 0.02, part);
    EXPECT_TRUE(std::ranges::equal(part, std::span(want).subspan(111, 40)));
  }
}

TEST(Math, AgreesWithTheLibraryToTheLastDigits) {
  Random random(5);
  for (int i = 0; i < 200000; ++i) {
    const double x = (random.uniform_double() - 0.5) * 1400;
    const double e = std::exp(x);
    EXPECT_NEAR(exact_exp(x) / e, 1.0, 4e-16);
    if (x != 0) {
      EXPECT_NEAR(exact_log(e) / std::log(e), 1.0, 4e-16);
    }
    double s = 0, c = 0;
    exact_sincos(x * 1000, &s, &c);
    EXPECT_NEAR(s, std::sin(x * 1000), 3e-16);
    EXPECT_NEAR(c, std::cos(x * 1000), 3e-16);
  }
  EXPECT_EQ(exact_exp(0), 1.0);
  EXPECT_EQ(exact_log(1), 0.0);
  EXPECT_EQ(exact_exp(-800), 0.0);
  EXPECT_TRUE(std::isinf(exact_exp(800)));
  EXPECT_TRUE(std::isnan(exact_exp(NAN)));
  EXPECT_TRUE(std::isnan(exact_log(-1)));
}

TEST(Threads, EveryIndexRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t n = 0; n < 300; n += 7) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      pool.parallel_for(n, 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (const auto& h : hits) EXPECT_EQ(h, 1);
    }
  }
}

TEST(Threads, AnIdlePoolHasASizeAndRunsNothing) {
  for (const int threads : {1, 3}) {
    ThreadPool pool = ThreadPool::idle(threads);
    EXPECT_EQ(pool.size(), threads);
    EXPECT_TRUE(pool.is_idle());
    EXPECT_FALSE(ThreadPool(threads).is_idle());
    int runs = 0;
    pool.parallel_for(1000, 1, [&](int64_t, int64_t) { ++runs; });
    pool.parallel_for_thread(1, 1, [&](int64_t, int64_t, int) { ++runs; });
    EXPECT_EQ(runs, 0);
  }
}

TEST(Threads, NestedCallsRunOnTheCaller) {
  ThreadPool pool(2);
  std::atomic<int> total{0};
  pool.parallel_for(8, 1, [&](int64_t, int64_t) {
    pool.parallel_for(4, 1, [&](int64_t begin, int64_t end) { total += static_cast<int>(end - begin); });
  });
  EXPECT_EQ(total, 32);
}

TEST_F(Files, AtomicWriteLeavesTheOldOrTheNew) {
  const fs::path file = path / "a.txt";
  write_file_atomically(file, "old");
  write_file_atomically(file, "new");
  EXPECT_EQ(read_file(file), "new");
  EXPECT_FALSE(fs::exists(path / "a.txt.tmp"));
}

TEST_F(Files, DirectorySurvivesAKillAtAnyMoment) {
  const fs::path directory = path / "d";
  const auto version = [&](int n) {
    write_directory_atomically(directory, [&](const fs::path& d) {
      for (const char* name : {"a", "b", "c"}) write_file_atomically(d / name, std::to_string(n));
    });
  };
  version(0);
  int64_t killed = 0, n = 1;
  for (; test::killed_at_change(n, [&] { version(static_cast<int>(n)); }); ++n, ++killed) {
    recover_directory(directory);
    ASSERT_TRUE(fs::exists(directory)) << "change " << n;
    EXPECT_EQ(read_file(directory / "a"), read_file(directory / "b"));
    EXPECT_EQ(read_file(directory / "a"), read_file(directory / "c"));
    EXPECT_FALSE(fs::exists(path / "d.tmp"));
    EXPECT_FALSE(fs::exists(path / "d.old"));
  }
  EXPECT_GT(killed, 20) << "writing a directory is more changes than that";
  EXPECT_EQ(read_file(directory / "c"), std::to_string(n)) << "the last one was not killed";
}

TEST_F(Files, FailedFillLeavesTheOldDirectory) {
  const fs::path directory = path / "d";
  write_directory_atomically(directory, [](const fs::path& d) { write_file_atomically(d / "a", "1"); });
  EXPECT_THROW(write_directory_atomically(directory, [](const fs::path&) { throw Error("no"); }), Error);
  EXPECT_EQ(read_file(directory / "a"), "1");
}

TEST_F(Files, TruncateLinesDropsWhatFollowsAndTornLines) {
  const fs::path file = path / "m.jsonl";
  std::ofstream(file) << "1\n2\n3\nto";
  truncate_lines(file, 5);
  EXPECT_EQ(read_file(file), "1\n2\n3\n");
  truncate_lines(file, 2);
  EXPECT_EQ(read_file(file), "1\n2\n");
  truncate_lines(path / "missing", 2);
}

TEST_F(Files, ErrorsNameThePathAndTheReason) {
  try {
    read_file(path / "none");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("none"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("No such file"), std::string::npos);
  }
  EXPECT_THROW(FileWriter(path / "no" / "such"), Error);
  EXPECT_THROW(MappedFile{path}, Error);
}

TEST(TextUtil, NearestNameOffersOnlyWhatIsNear) {
  const std::vector<std::string> names = {"rollout.max_tokens", "rollout.group"};
  EXPECT_EQ(nearest_name("rollout.max_token", names), "rollout.max_tokens");
  EXPECT_EQ(nearest_name("zzzzzzzz", names), "");
}

TEST(TextUtil, HexFloatsNameBits) {
  EXPECT_EQ(hex_float(1.5f), "0x1.8p+0");
  EXPECT_EQ(hex_float(-INFINITY), "-inf");
}

TEST(Hash, Sha256KnownAnswer) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Text, AShellReadsAWordAsItIs) {
  EXPECT_EQ(shell_word("runs/a-b_1.toml"), "runs/a-b_1.toml");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("a b"), "'a b'");
  EXPECT_EQ(shell_word("it's $HOME"), "'it'\\''s $HOME'");
  EXPECT_EQ(shell_word("caf\u00E9"), "'caf\u00E9'");
}

}  // namespace
}  // namespace r1::base_test
