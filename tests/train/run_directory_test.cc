// A run's directory over kills and resumptions: the copy of its configuration, and its numbers for
// TensorBoard.
#include "train/run_directory.h"

#include <unistd.h>

#include "base/error.h"
#include "tests/formats/tfevents_reader.h"

namespace r1::run_directory_test {
namespace {

namespace fs = std::filesystem;

class RunDirectoryTest : public testing::Test {
 protected:
  RunDirectoryTest() { fs::remove_all(root); }
  ~RunDirectoryTest() override { fs::remove_all(root); }

  // Makes steps begin to end in a process that then ends as if it were killed.
  void steps(const std::string& config, int64_t begin, int64_t end) const {
    ConfigFile file = ConfigFile::parse(config, "some.toml");
    RunDirectory run({.kind = "grpo", .name = "some", .out = root}, file, begin > 1);
    if (begin > 1) run.resume_from(*run.latest());
    for (int64_t step = begin; step <= end; ++step) {
      run.write_metrics(Json::object().set("step", step).set("loss", 1.0 / static_cast<double>(step)));
      if (step == 2) run.checkpoint({.step = step}, 1, [](const fs::path&) {});
    }
  }
  std::vector<fs::path> events() const {
    std::vector<fs::path> out;
    for (const fs::path& path : test::event_files(root)) {
      if (path.filename().string().starts_with("events.")) out.push_back(path);
    }
    return out;
  }

  fs::path root = fs::temp_directory_path() / ("r1_run_directory_" + std::to_string(::getpid()));
};

TEST_F(RunDirectoryTest, TensorBoardSeesEveryStepOnceOverAResume) {
  const std::string config = "[log]\ntensorboard = true\n";
  steps(config, 1, 4);  // the checkpoint is of step 2, so 3 and 4 are made again
  steps(config, 3, 5);
  const std::vector<fs::path> files = events();
  ASSERT_EQ(files.size(), 2u);
  // Reads the file as TensorBoard does: "session started at step N" discards what was written from step N on.
  std::map<int64_t, float> loss;
  int sessions = 0;
  for (const fs::path& file : files) {
    for (const std::string& record : test::records_of(read_file(file))) {
      const test::Event event = test::event_of(record);
      if (!event.session.empty()) {
        ++sessions;
        loss.erase(loss.lower_bound(event.step), loss.end());
      }
      if (event.scalars.empty()) continue;
      EXPECT_FALSE(loss.contains(event.step)) << "step " << event.step << " is there twice";
      loss[event.step] = event.scalars.at("loss");
    }
  }
  EXPECT_EQ(sessions, 2);
  EXPECT_EQ(loss, (std::map<int64_t, float>{{1, 1.0f}, {2, 0.5f}, {3, 1.0f / 3}, {4, 0.25f}, {5, 0.2f}}));
}

TEST_F(RunDirectoryTest, WritesNoEventsUnlessAsked) {
  steps("", 1, 2);
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(fs::exists(root / "metrics.jsonl"));
}

TEST_F(RunDirectoryTest, TensorBoardIsTrueOrFalse) {
  ConfigFile file = ConfigFile::parse("[log]\ntensorboard = 1\n", "some.toml");
  try {
    read_checkpoint_config(file);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "some.toml:2: log.tensorboard is not true or false");
  }
}

TEST_F(RunDirectoryTest, KeepsACopyOfItsConfiguration) {
  const std::string text = "name = \"a\"  # kept\n";
  ConfigFile file = ConfigFile::parse(text, "some.toml");
  file.override_with("seed", Json(int64_t{3}));
  file.override_with("out", Json("line\nbreak"));
  const RunDirectory run({.kind = "sft", .name = "some", .out = root}, file, false);
  const std::string copy = read_file(root / "config.toml");
  EXPECT_EQ(copy, "# A copy of some.toml\n# In place of its own: seed = 3, out = \"line\\nbreak\"\n" + text);
  EXPECT_EQ(ConfigFile::parse(copy, "copy").text("name"), "a");
}

TEST_F(RunDirectoryTest, SaysWhichCommandMadeIt) {
  ConfigFile file = ConfigFile::parse("", "some.toml");
  const RunDirectory run({.kind = "distill", .name = "some", .out = root}, file, false);
  EXPECT_EQ(read_json(root / "run.json").get_string("kind"), "distill");
}

TEST_F(RunDirectoryTest, ReadsWhatEveryStageHas) {
  ConfigFile file = ConfigFile::parse("name = \"a\"\nseed = 3\nnumerics = \"cpu-f32\"\n", "some.toml");
  const RunConfig run = read_run_config(file, "grpo");
  EXPECT_EQ(run.kind, "grpo");
  EXPECT_EQ(run.name, "a");
  EXPECT_EQ(run.seed, 3u);
  EXPECT_EQ(run.out, "runs/a");
  EXPECT_EQ(run.numerics, Numerics::cpu_f32);
  file.finish();  // throws unless every key was read
  const auto refusal = [](const char* text) {
    ConfigFile bad = ConfigFile::parse(text, "some.toml");
    try {
      read_run_config(bad, "grpo");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(refusal("seed = 1\n"), "some.toml: name is missing");
  EXPECT_TRUE(
      refusal("name = \"a\"\nseed = -1\n").starts_with("some.toml:2: seed is -1; it must be between 0 and"));
  const std::string numerics = refusal("name = \"a\"\nnumerics = \"cpu-f33\"\n");
  EXPECT_TRUE(numerics.starts_with("some.toml:2: numerics ")) << numerics;
  EXPECT_NE(numerics.find("is \"cpu-f33\"; it must be one of cpu-f32, cpu-bf16, cpu-avx512bf16"),
            std::string::npos)
      << numerics;
}

}  // namespace
}  // namespace r1::run_directory_test
