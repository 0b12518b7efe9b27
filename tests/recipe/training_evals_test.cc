// Measurements of a run in training change no bit, a killed run ends with the same files, and the best model
// is kept.
#include "recipe/training_evals.h"

#include "base/error.h"
#include "base/random.h"
#include "base/text_util.h"
#include "formats/jsonl.h"
#include "tests/base/kill_at.h"
#include "tests/train/train_test_util.h"

namespace r1::training_evals_test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEval =
    "[[eval]]\ntask = \"countdown3\"\nevery = 2\nproblems = 12\nmax_tokens = 40\n"
    "[[eval]]\nname = \"four\"\ntask = \"countdown4\"\nevery = 3\nproblems = 5\nsamples = 2\n";

class TrainingEvalsOfRun : public RunFolder {
 protected:
  fs::path with_best(const std::string& name, const std::string& out, const std::string& best,
                     const std::string& more) const {
    std::string text = read_file(grpo_config(name, out, "", more));
    if (!best.empty()) text.replace(text.find("every = 1\n"), 10, "every = 1\nbest = \"" + best + "\"\n");
    return write(name, text);
  }
  void finish(const fs::path& config, int threads, bool resume = false) const {
    ThreadPool pool(threads);
    SilentReporter silent;
    run_grpo_config(config, {.resume = resume}, pool, silent);
  }
  // Returns metrics.jsonl without times.
  std::string figures(const std::string& out) const {
    std::string text;
    for (const Json& row : read_jsonl(root / out / "metrics.jsonl")) {
      for (const auto& [key, value] : row.members()) {
        if (!key.ends_with("_s") && !key.ends_with(".seconds")) text += key + "=" + value.dump() + " ";
      }
      text += "\n";
    }
    return text;
  }
  fs::path sft(const std::string& name, const std::string& out, const std::string& data,
               const std::string& more = "") const {
    std::string rows;
    for (int i = 0; i < 40; ++i) {
      // Two answers to each of twenty questions.
      rows += "{\"question\": \"Make " + std::to_string(10 + i / 2) +
              " from 1, 2 and 3.\", \"response\": \"<think>1+2=3 no" + std::to_string(i) +
              "</think><answer>1+2</answer>\"}\n";
    }
    const std::string file = write("rows.jsonl", rows).string();
    return write(name, "name = \"t\"\nseed = 5\nmodel = \"" + base() + "\"\nout = \"" +
                           (root / out).string() + "\"\n[data]\nfiles = [\"" + file + "\"]\n" + data +
                           "[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\nsteps = 12\n" + more);
  }
  std::string error_of(const fs::path& config, bool is_sft = false) const {
    ThreadPool pool(1);
    SilentReporter silent;
    try {
      (is_sft ? run_sft_config : run_grpo_config)(config, {}, pool, silent, {});
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_F(TrainingEvalsOfRun, EvaluationChangesNoBitOfTheRun) {
  finish(grpo_config("a.toml", "a"), 2);
  finish(grpo_config("b.toml", "b", "", kEval), 2);
  EXPECT_TRUE(weights_of(root / "a/model") == weights_of(root / "b/model"));
  EXPECT_EQ(read_file(root / "a/samples.jsonl"), read_file(root / "b/samples.jsonl"));
  std::map<std::string, std::vector<int64_t>> steps;
  for (const Json& row : read_jsonl(root / "b/metrics.jsonl")) {
    for (const char* name : {"countdown3", "four"}) {
      const std::string stem = std::string("eval.") + name;
      if (!row.contains(stem + ".pass_at_1")) continue;
      steps[name].push_back(row.get_int("step"));
      EXPECT_LE(row.get_number(stem + ".low"), row.get_number(stem + ".pass_at_1"));
      EXPECT_GE(row.get_number(stem + ".high"), row.get_number(stem + ".pass_at_1"));
    }
  }
  EXPECT_EQ(steps["countdown3"], (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(steps["four"], (std::vector<int64_t>{3, 4})) << "the last step is measured too";
  EXPECT_EQ(read_jsonl(root / "b/evals.jsonl").size(), 2u * 12 + 2 * 10);
}

TEST_F(TrainingEvalsOfRun, AKilledRunEndsWithTheSameFilesAndTheSameBest) {
  const int64_t changes =
      test::count_changes([&] { finish(with_best("a.toml", "a", "countdown3", kEval), 1); });
  const auto config = with_best("b.toml", "b", "countdown3", kEval);
  Random random(29);
  for (int killed = 0; killed < 6;) {
    if (test::killed_at_change(random.between(1, changes), [&] { finish(config, 1, true); })) {
      ++killed;
    } else {
      fs::remove_all(root / "b");  // the run ended before the kill, so it is repeated
    }
  }
  finish(config, 2, true);
  EXPECT_EQ(figures("b"), figures("a"));
  for (const char* file : {"evals.jsonl", "samples.jsonl", "best/best.json", "best/model.safetensors"})
    EXPECT_TRUE(read_file(root / "b" / file) == read_file(root / "a" / file)) << file;
}

TEST_F(TrainingEvalsOfRun, TheBestModelIsTheOneWithTheHighestFigure) {
  finish(with_best("a.toml", "a", "countdown3", kEval), 2);
  double best = -1;
  int64_t step = 0;
  for (const Json& row : read_jsonl(root / "a/metrics.jsonl")) {
    const double value = row.get_number_or("eval.countdown3.pass_at_1", -1);
    if (value > best) {
      best = value;
      step = row.get_int("step");
    }
  }
  const Json json = read_json(root / "a/best/best.json");
  EXPECT_EQ(json.get_number("value"), best);
  EXPECT_EQ(json.get_int("step"), step);
  EXPECT_EQ(json.get_string("eval"), "countdown3");
  (void)Model::load(root / "a/best");
}

TEST_F(TrainingEvalsOfRun, HeldOutRowsAreNotTrainedOnAndTheirLossIsMeasured) {
  ThreadPool pool(2);
  SilentReporter reporter;
  run_sft_config(sft("a.toml", "a", "held_out = 0.3\n",
                     "[validation]\nevery = 4\n[checkpoint]\nbest = \"validation\"\n"),
                 {}, pool, reporter);
  std::vector<int64_t> steps;
  std::vector<double> losses;
  for (const Json& row : reporter.rows) {
    if (!row.contains("validation.loss")) continue;
    steps.push_back(row.get_int("step"));
    losses.push_back(row.get_number("validation.loss"));
  }
  ASSERT_EQ(steps, (std::vector<int64_t>{4, 8, 12}));
  EXPECT_LT(losses.back(), losses.front()) << "the held-out rows are like those that are trained on";
  EXPECT_EQ(read_json(root / "a/best/best.json").get_number("value"), *std::ranges::min_element(losses));
}

TEST_F(TrainingEvalsOfRun, TheValidationLossOfGivenFilesIsTheMeanOverTheirTokens) {
  ThreadPool pool(2);
  SilentReporter reporter;
  // lr is 0, so the loss is the base model's own. The first epoch of training has it for all rows.
  std::string text = read_file(sft("a.toml", "a", "", ""));
  text.replace(text.find("lr = 1e-3"), 9, "lr = 1e-30");
  text.replace(text.find("tokens = 300"), 12, "tokens = 2");
  text.replace(text.find("steps = 12"), 10, "steps = 40");
  text += "[validation]\nfiles = [\"" + (root / "rows.jsonl").string() + "\"]\nevery = 40\n";
  run_sft_config(write("b.toml", text), {}, pool, reporter);
  double sum = 0, tokens = 0;
  const ModelBundle bundle = ModelBundle::load(base());
  for (const Json& row : reporter.rows) sum += row.get_number("loss");
  tokens = static_cast<double>(reporter.rows.size());
  EXPECT_EQ(tokens, 40);
  // Rows have nearly the same number of answer tokens, so the mean of means is close to the mean.
  EXPECT_NEAR(reporter.rows.back().get_number("validation.loss"), sum / tokens, 0.02);
}

TEST_F(TrainingEvalsOfRun, TwoAnswersToOneQuestionLieOnOneSide) {
  int64_t held = 0;
  for (int32_t i = 0; i < 2000; ++i) {
    const Document one = document_from({i, 7, 8, 9}, 2), two = document_from({i, 7, 10}, 2);
    EXPECT_EQ(is_held_out(one, 0.1), is_held_out(two, 0.1));
    held += is_held_out(one, 0.1) ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(held), 200, 4 * 13.4);  // four standard deviations
}

TEST_F(TrainingEvalsOfRun, AMistakeInALaterStageIsSaidBeforeTheFirstOneRuns) {
  grpo_config("x.toml", "x", "", "[[eval]]\ntask = \"cuntdown\"\nevery = 2\n");
  try {
    check_stage_config("grpo", root / "x.toml", {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("eval[0].task is no file, and"), std::string::npos) << e.what();
  }
}

TEST_F(TrainingEvalsOfRun, MistakesAreOneClearLine) {
  const auto grpo = [&](const std::string& more) { return error_of(grpo_config("x.toml", "x", "", more)); };
  const auto expect = [](const std::string& error, const std::string& part) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect(grpo("[[eval]]\ntask = \"countdown3\"\n"), "eval[0].every is missing");
  expect(grpo("[[eval]]\ntask = \"cuntdown\"\nevery = 2\n"), "x.toml:21: eval[0].task is no file, and");
  expect(grpo("[[eval]]\ntask = \"countdown3\"\nevery = 0\n"), "eval[0].every is 0; it must be between 1");
  expect(grpo("[[eval]]\ntask = \"countdown3\"\nevery = 1\n[[eval]]\ntask = \"countdown3\"\nevery = 2\n"),
         "eval[1].task has the name \"countdown3\", as an earlier [[eval]]");
  expect(error_of(with_best("y.toml", "y", "countdown4", kEval)),
         "checkpoint.best is \"countdown4\"; it must name an [[eval]] (there are: countdown3, four)");
  expect(error_of(sft("z.toml", "z", "held_out = 0.5\nsplit = \"held_out\"\n"), true),
         "data.split is \"held_out\", so the rows of data.held_out would be trained on");
  expect(error_of(sft("z.toml", "z", "", "[validation]\nevery = 3\n"), true),
         "validation.every is given without documents");
  expect(error_of(sft("z.toml", "z", "held_out = 0.001\n"), true),
         "data.held_out is 0.001, which leaves no document for the validation loss");
}

}  // namespace
}  // namespace r1::training_evals_test
