// Everything around a stage's steps, with a stage that only counts.
#include "train/training_run.h"

#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"
#include "train/step_loop.h"

namespace r1::training_run_test {
namespace {

namespace fs = std::filesystem;

struct Seen {
  int made = 0, steps = 0, loads = 0;
  int64_t begun_at = -1;
  std::vector<int64_t> noted;
};

class CountingStage : public StageTrainer {
 public:
  explicit CountingStage(Seen& seen) : seen_(seen) { ++seen.made; }
  void begin(const TrainerState& state) override { seen_.begun_at = state.step; }
  void step(TrainerState& state) override {
    ++seen_.steps;
    state.tokens += 10;
    ++count_;
  }
  Json row(const TrainerState& state, double) const override {
    return Json::object().set("step", state.step).set("tokens", state.tokens).set("count", count_);
  }
  std::vector<std::string> notes(const Json& row) override {
    seen_.noted.push_back(row.get_int("step"));
    return {"note " + std::to_string(row.get_int("step"))};
  }
  void save(const fs::path& d) const override {
    write_file_atomically(d / "optimizer.safetensors", std::to_string(count_));
  }
  void load(const fs::path& d, const TrainerState& state) override {
    ++seen_.loads;
    count_ = std::stoll(read_file(d / "optimizer.safetensors"));
    EXPECT_EQ(count_, state.step);
  }
  MemoryMeasured memory() const override { return {.activations = 1 << 20}; }

 private:
  Seen& seen_;
  int64_t count_ = 0;
};

class TrainingRuns : public RunFolder {
 protected:
  TrainingRuns() : bundle(ModelBundle::load(base())) {}
  Seen train(int64_t steps, const TrainOptions& options, int64_t log_every = 1) {
    ConfigFile file = ConfigFile::parse("", "some.toml");
    RunDirectory run({.kind = "grpo", .name = "a", .out = root / "a"}, file, options.resume);
    const CheckpointConfig checkpoint{.every = 2, .keep = 10};
    const MemoryEstimate memory{.weights = 1};
    Seen seen;
    run_training(
        {.run = run,
         .bundle = bundle,
         .checkpoint = checkpoint,
         .memory = memory,
         .steps = steps,
         .log_every = log_every},
        [&] { return std::make_unique<CountingStage>(seen); }, reporter, options);
    return seen;
  }
  std::vector<int64_t> rows(const char* key) const {
    std::vector<int64_t> out;
    for (const Json& row : read_jsonl(root / "a/metrics.jsonl")) out.push_back(row.get_int(key));
    return out;
  }
  ModelBundle bundle;
  SilentReporter reporter;
};

using Numbers = std::vector<int64_t>;

TEST_F(TrainingRuns, AResumedRunGoesOnFromItsLastCheckpoint) {
  const Seen first = train(7, {.stop_after_steps = 5});
  EXPECT_EQ(first.begun_at, 0);
  EXPECT_EQ(first.loads, 0);
  EXPECT_EQ(first.noted, (Numbers{1, 2, 3, 4, 5}));
  const Seen second = train(7, {.resume = true});
  EXPECT_EQ(second.begun_at, 4);  // the checkpoint of step 4; step 5 is made again
  EXPECT_EQ(second.loads, 1);
  EXPECT_EQ(second.steps, 3);
  EXPECT_EQ(rows("step"), (Numbers{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(rows("tokens"), (Numbers{10, 20, 30, 40, 50, 60, 70}));
  EXPECT_EQ(rows("count"), (Numbers{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_TRUE(fs::exists(root / "a/model/model.safetensors"));
}

TEST_F(TrainingRuns, AFinishedRunIsUsedAsItIs) {
  train(2, {});
  const Seen again = train(2, {.resume = true});
  EXPECT_EQ(again.made, 0);
  EXPECT_TRUE(reporter.notes.back().ends_with("is finished: its model is used as it is"));
}

TEST_F(TrainingRuns, RowsComeAtTheirIntervalAtMeasuresAndAtTheEnd) {
  TrainOptions options;
  options.measures.due = [](int64_t step) { return step == 4; };
  options.measures.measure = [](int64_t, Json& row) { row.set("figure", 1); };
  train(8, options, 3);
  EXPECT_EQ(rows("step"), (Numbers{3, 4, 6, 8}));
  EXPECT_TRUE(read_jsonl(root / "a/metrics.jsonl")[1].contains("figure"));
}

TEST_F(TrainingRuns, MemoryIsEstimatedBeforeAndMeasuredAfter) {
  train(1, {});
  EXPECT_TRUE(reporter.notes.front().starts_with("memory of a step: ")) << reporter.notes.front();
  EXPECT_TRUE(read_json(root / "a/run.json").contains("memory_mib"));
}

}  // namespace
}  // namespace r1::training_run_test
