// GRPO on the shipped base: sampler and trainer agree to the bit, and a run that is killed anywhere ends with
// the same weights.
#include "train/grpo.h"

#include <cmath>

#include "base/random.h"
#include "base/sanitizer.h"
#include "base/text_util.h"
#include "engine/model_bundle.h"
#include "formats/jsonl.h"
#include "model/scoring.h"
#include "tests/base/kill_at.h"
#include "tests/train/train_test_util.h"

namespace r1::grpo_test {
namespace {

using Grpo = RunFolder;

std::string finish(const std::filesystem::path& config, int threads, bool resume = false) {
  ThreadPool pool(threads);
  SilentReporter reporter;
  return read_file(run_grpo_config(config, {.resume = resume, .stop_after_steps = 0}, pool, reporter) /
                   "model.safetensors");
}

TEST_F(Grpo, SamplerAndTrainerAgreeExactlyAtEveryStep) {
  for (const std::string rollout : {"", "minibatches = 3\nepochs = 2\n", "temperature = 0.7\n"}) {
    const auto config = grpo_config("a.toml", "a", rollout, "[loss]\nkl = 0.05\nreference_every = 2\n");
    ThreadPool threads(2);
    SilentReporter reporter;
    run_grpo_config(config, {}, threads, reporter);
    ASSERT_EQ(reporter.rows.size(), 4u);
    bool learned = false;
    for (const Json& row : reporter.rows) {
      EXPECT_EQ(row.get_number("sampler_trainer_kl"), 0.0) << row.dump();
      EXPECT_EQ(row.get_number("sampler_trainer_max_abs"), 0.0) << row.dump();
      learned = learned || row.get_number("grad_norm") > 0;
      for (const char* key :
           {"step", "wall_s", "tokens", "loss", "lr", "grad_norm", "reward", "accuracy", "length", "entropy",
            "kl", "clip_fraction", "truncated", "sample_s", "train_s", "update_s"}) {
        EXPECT_TRUE(row.contains(key)) << key;
      }
    }
    EXPECT_TRUE(learned) << "no step had a gradient: the test shows nothing";
    std::filesystem::remove_all(root / "a");
  }
}

TEST_F(Grpo, ComparisonSeesOneChangedWeight) {
  ConfigFile file = ConfigFile::read(grpo_config("a.toml", "a"));
  const GrpoConfig config = read_grpo_config(file);
  ModelBundle bundle = ModelBundle::load(base());
  ThreadPool threads(2);
  SilentReporter reporter;
  GrpoHooks hooks;
  hooks.after_sampling = [](Model& model) {
    Parameter& p = model.parameters()[5];
    p.value.f32()[0] += 0.01f;
    ++p.version;
  };
  RunDirectory run(config.run, file, false);
  grpo(bundle, config, run, {}, threads, reporter, {.resume = false, .stop_after_steps = 1}, hooks);
  EXPECT_GT(reporter.rows.at(0).get_number("sampler_trainer_kl"), 0.0);
  EXPECT_GT(reporter.rows.at(0).get_number("sampler_trainer_max_abs"), 0.0);
}

TEST_F(Grpo, ATasksProblemsThroughAFileGiveTheSameWeights) {
  std::string rows;
  for (uint64_t i = 0; i < 12; ++i) {
    const Problem problem = make_problem("countdown3", 5, i, Split::train);
    const Json gold = parse_json(problem.gold, "gold");
    rows += Json(gold).set("task", problem.task).set("question", problem.question).dump() + "\n";
  }
  write("problems.jsonl", rows);
  const auto generated = grpo_config("a.toml", "a");
  std::string text = read_file(grpo_config("b.toml", "b"));
  const std::string task = "task = \"countdown3\"";
  const auto with = [&](const std::string& data) {
    std::string changed = text;
    return write("b.toml", changed.replace(changed.find(task), task.size(), data));
  };
  const std::string from_task = finish(generated, 2);
  EXPECT_EQ(from_task, finish(with("files = [\"problems.jsonl\"]\nshuffle = false\ndeduplicate = false"), 2));
  std::filesystem::remove_all(root / "b");
  EXPECT_NE(from_task, finish(with("files = [\"problems.jsonl\"]\nlimit = 5"), 2))
      << "other problems, other weights";
}

TEST_F(Grpo, ARunOnFilesResumesToTheSameWeights) {
  std::string rows;
  for (uint64_t i = 0; i < 7; ++i) {
    const Problem problem = make_problem("countdown3", 5, i, Split::train);
    rows += parse_json(problem.gold, "gold").set("question", problem.question).dump() + "\n";
  }
  const auto file = write("problems.jsonl", rows + "{\"question\": \"no answer\"}\n");
  const auto config = [&](const std::string& name, const std::string& out) {
    std::string text = read_file(grpo_config(name, out));
    const std::string task = "task = \"countdown3\"";
    return write(name, text.replace(text.find(task), task.size(), "files = [\"problems.jsonl\"]"));
  };
  const auto a = config("a.toml", "a"), b = config("b.toml", "b");
  const std::string whole = finish(a, 2);
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(b, {.resume = false, .stop_after_steps = 3}, threads, reporter);  // in the second epoch
  EXPECT_EQ(whole, finish(b, 2, true));
  write("problems.jsonl", rows);
  try {
    run_grpo_config(b, {.resume = true}, threads, reporter);
    FAIL() << "the files have changed";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("data.files"), std::string::npos) << e.what();
  }
}

TEST_F(Grpo, ThreadsChangeNoBit) {
  EXPECT_EQ(finish(grpo_config("a.toml", "a"), 1), finish(grpo_config("b.toml", "b"), 2));
}

TEST_F(Grpo, MicroBatchesChangeNoBit) {
  const auto a = grpo_config("a.toml", "a");
  std::string text = read_file(grpo_config("b.toml", "b"));
  text.replace(text.find("micro = 300"), 11, "micro = 5000");
  EXPECT_EQ(finish(a, 2), finish(write("b.toml", text), 2));
}

TEST_F(Grpo, RunKilledAtTenRandomMomentsEndsWithTheSameWeights) {
  const char* loss = "[loss]\nkl = 0.02\nreference_every = 2\n";
  std::string want;
  const int64_t changes =
      test::count_changes([&] { want = finish(grpo_config("a.toml", "a", "", loss), 1); });
  const auto config = grpo_config("b.toml", "b", "", loss);
  Random random(17);
  for (int killed = 0; killed < 10;) {
    if (test::killed_at_change(random.between(1, changes / 2), [&] { finish(config, 1, true); })) {
      ++killed;
    } else {
      std::filesystem::remove_all(root / "b");  // it ended before the kill, so it begins again
    }
  }
  EXPECT_EQ(finish(config, 2, true), want);
  // There is one row per step, whatever was killed.
  std::vector<int64_t> steps;
  for (const Json& row : read_jsonl(root / "b" / "metrics.jsonl")) steps.push_back(row.get_int("step"));
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4}));
}

TEST_F(Grpo, RunStoppedAtAnyMomentEndsWithTheSameWeights) {
  // The flag is checked before each step and when an answer ends; five of the six steps can be stopped.
  const auto six_steps = [&](const char* name, const char* out) {
    std::string text = read_file(grpo_config(name, out));
    return write(name, text.replace(text.find("steps = 4"), 9, "steps = 6"));
  };
  const std::string want = finish(six_steps("a.toml", "a"), 2);
  const auto config = six_steps("b.toml", "b");
  ThreadPool threads(2);
  {  // A stop during the preflight saves nothing, because nothing has been done: the first step comes first.
    SilentReporter reporter;
    run_grpo_config(config, {.stop_after_steps = 1}, threads, reporter);
  }
  int stops = 0;
  for (bool done = false; !done && stops < 100;) {
    SilentReporter reporter;
    int64_t looks = 0;
    TrainOptions options{.resume = true};
    options.stop = [&] { return ++looks > 20 + 7 * stops % 19; };
    try {
      run_grpo_config(config, options, threads, reporter);
      done = true;
    } catch (const Stopped&) {
      ++stops;
    }
  }
  EXPECT_GT(stops, 2);
  EXPECT_TRUE(read_file(root / "b/model/model.safetensors") == want);
}

TEST_F(Grpo, AFinishedRunGoesOnToMoreStepsWithTheBitsOfALongerRun) {
  const auto with_steps = [&](const char* name, const char* out, const char* steps) {
    std::string text = read_file(grpo_config(name, out));
    return write(name, text.replace(text.find("steps = 4"), 9, steps));
  };
  const std::string want = finish(with_steps("a.toml", "a", "steps = 6"), 2);
  EXPECT_NE(finish(with_steps("b.toml", "b", "steps = 3"), 2), want);
  EXPECT_EQ(finish(with_steps("b.toml", "b", "steps = 6"), 2, true), want);
  std::vector<int64_t> steps;
  for (const Json& row : read_jsonl(root / "b" / "metrics.jsonl")) steps.push_back(row.get_int("step"));
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  ThreadPool threads(1);
  SilentReporter reporter;
  run_grpo_config(with_steps("b.toml", "b", "steps = 6"), {.resume = true}, threads, reporter);
  EXPECT_TRUE(reporter.rows.empty()) << "a finished run was run again";
  try {
    finish(with_steps("b.toml", "b", "steps = 5"), 2, true);
    FAIL() << "fewer steps than are done";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("the run has done 6 steps"), std::string::npos) << e.what();
  }
}

TEST_F(Grpo, ForeignFilesInTheModelOfAFinishedRunAreNotReplaced) {
  finish(grpo_config("a.toml", "a"), 2);
  write("a/model/model.gguf", "mine");
  std::string text = read_file(root / "a.toml");
  text.replace(text.find("steps = 4"), 9, "steps = 5");
  try {
    finish(write("a.toml", text), 2, true);
    FAIL() << "it went on";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("holds model/model.gguf"), std::string::npos) << e.what();
  }
  EXPECT_EQ(read_file(root / "a/model/model.gguf"), "mine");
}

// Every answer is cut off and masked, so there is nothing to learn from.
TEST_F(Grpo, AStepWithoutAnythingToLearnMovesNeitherWeightsNorSchedule) {
  const std::string text = with_nothing_to_learn(
      read_file(grpo_config("a.toml", "a", "minibatches = 3\n", "[loss]\noverlong = \"mask\"\n")));
  ThreadPool threads(1);
  SilentReporter reporter;
  const auto model = run_grpo_config(write("a.toml", text), {.force = true}, threads, reporter);
  EXPECT_TRUE(weights_of(model) == weights_of(base()));
  EXPECT_EQ(read_json(root / "a/checkpoints/step-000004/trainer.json").get_int("updates"), 0);
  for (const Json& row : reporter.rows) EXPECT_EQ(row.get_number("lr"), 0.0) << row.dump();
}

// Dynamic sampling finds fewer groups than there are minibatches. The empty minibatches are not updates.
TEST_F(Grpo, AnEmptyMinibatchIsNoUpdate) {
  const auto config =
      grpo_config("a.toml", "a", "minibatches = 3\n", "[filter]\ndynamic = true\nrounds = 1\n");
  ThreadPool threads(1);
  SilentReporter reporter;
  run_grpo_config(config, {}, threads, reporter);
  const Json state = read_json(root / "a/checkpoints/step-000004/trainer.json");
  int64_t groups = 0;  // groups with a signal in all steps; each is one minibatch
  for (const Json& row : reporter.rows)
    groups += 3 - static_cast<int64_t>(std::lround(3 * row.get_number("groups_without_signal")));
  EXPECT_LT(groups, 12) << "every group had a signal: the test shows nothing";
  EXPECT_EQ(state.get_int("updates"), groups);
}

TEST_F(Grpo, ResumesWhereverItIsCalledFromAndWhereverItsModelLies) {
  std::filesystem::create_directories(root / "here/sub");
  std::filesystem::copy(base(), root / "here/sub/model");
  std::filesystem::copy(base(), root / "elsewhere");
  std::string text = read_file(grpo_config("here/a.toml", "a"));
  const auto with_model = [&](const std::string& model) {
    std::string changed = text;
    return write("here/a.toml", changed.replace(changed.find(base()), base().size(), model));
  };
  ThreadPool threads(2);
  SilentReporter reporter;
  const auto before = std::filesystem::current_path();
  run_grpo_config(with_model("sub/model"), {.stop_after_steps = 1}, threads, reporter);
  std::filesystem::current_path(root / "here");
  run_grpo_config("a.toml", {.resume = true, .stop_after_steps = 1}, threads, reporter);
  std::filesystem::current_path(before);
  run_grpo_config(with_model("../elsewhere"), {.resume = true, .stop_after_steps = 1}, threads, reporter);
  run_grpo_config(with_model("r1-nano-base"), {.resume = true}, threads, reporter);
  EXPECT_EQ(read_file(root / "a/model/model.safetensors"), finish(grpo_config("b.toml", "b"), 2));
  try {
    std::filesystem::remove_all(root / "a/model");
    run_grpo_config(with_model("r1-nano"), {.resume = true}, threads, reporter);
    FAIL() << "it went on with another model";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("model (\"r1-nano\") does not hold what the run was begun with"),
              std::string::npos)
        << e.what();
  }
}

// Only name, model, task and steps are given. The promise is 0.15 in 25 steps; it is reached after 15.
TEST_F(Grpo, DefaultsLearn) {
  if (kAddressSanitizer) GTEST_SKIP() << "takes minutes under AddressSanitizer: SKIPPED";
  const auto config =
      write("a.toml", "name = \"a\"\nmodel = \"r1-nano-base\"\nout = \"" + (root / "a").string() +
                          "\"\n[data]\ntask = \"countdown3\"\n[optimizer]\nsteps = 25\n");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(config, {.stop_after_steps = 15}, threads, reporter);
  const auto mean = [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += reporter.rows[i].get_number("accuracy");
    return sum / static_cast<double>(end - begin);
  };
  ASSERT_EQ(reporter.rows.size(), 15u);
  EXPECT_GE(mean(10, 15) - mean(0, 3), 0.15);
}

TEST_F(Grpo, SamplesCanBeScoredAgainToTheSameStrings) {
  finish(grpo_config("a.toml", "a"), 2);
  const Model model = Model::load(base());
  ThreadPool threads(2);
  Lanes lanes(threads, Numerics::cpu_f32);
  int64_t compared = 0;
  for (const Json& row : read_jsonl(root / "a" / "samples.jsonl")) {
    if (row.get_int("step") != 1) continue;
    ASSERT_EQ(row.get_string("weights_sha256"), model.weights_sha256());
    std::vector<int32_t> tokens;
    for (const Json& t : row.at("prompt_tokens").items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    const int64_t from = static_cast<int64_t>(tokens.size());
    for (const Json& t : row.at("tokens").items()) tokens.push_back(static_cast<int32_t>(t.integer()));
    const ScoredRow scored{tokens, from};
    const auto lp = score(model, lanes, {&scored, 1}, {});
    for (size_t i = 0; i < lp[0].size(); ++i)
      EXPECT_EQ(hex_float(lp[0][i]), row.at("logprobs").at(i).string());
    ++compared;
  }
  EXPECT_EQ(compared, 18);
}

TEST_F(Grpo, BadConfigurationsAreOneClearLine) {
  ThreadPool threads(1);
  SilentReporter reporter;
  const auto message = [&](const std::filesystem::path& config, bool resume = false) -> std::string {
    try {
      run_grpo_config(config, {.resume = resume, .stop_after_steps = 1}, threads, reporter);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  std::string text = read_file(grpo_config("a.toml", "a"));
  text.replace(text.find("max_tokens"), 10, "max_token");
  EXPECT_NE(message(write("a.toml", text))
                .find("a.toml:10: unknown key rollout.max_token (did you mean rollout.max_tokens?)"),
            std::string::npos)
      << message(root / "a.toml");
  EXPECT_NE(message(write("b.toml", "name = \"x\"\n[rollout\n")).find("b.toml:2: not valid TOML"),
            std::string::npos);
  const auto good = grpo_config("c.toml", "c");
  EXPECT_EQ(message(good), "");
  EXPECT_NE(message(good).find("add --resume"), std::string::npos);
  EXPECT_NE(message(grpo_config("c.toml", "c", "temperature = 0.9\n"), true)
                .find("c: rollout.temperature is 0.9, the run was begun with 1"),
            std::string::npos);
  EXPECT_NE(message(grpo_config("d.toml", "d", "prompts = 4\n")).find("not valid TOML"),
            std::string::npos);  // the key appears twice
  std::string task = read_file(grpo_config("e.toml", "e"));
  task.replace(task.find("countdown3"), 10, "countdwn33");
  EXPECT_NE(message(write("e.toml", task)).find("unknown task"), std::string::npos);
  task.replace(task.find("countdwn33"), 10, "game24");
  EXPECT_NE(message(write("e.toml", task)).find("game24 has no training problems"), std::string::npos);
}

TEST_F(Grpo, FullDiskDuringACheckpointLosesNothing) {
  const auto disk = root / "disk";
  std::filesystem::create_directories(disk);
  if (std::system(("mount -t tmpfs -o size=64m none " + disk.string() + " 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "a tmpfs cannot be mounted here (root is needed): the full-disk test is SKIPPED";
  }
  struct Unmount {
    std::string path;
    ~Unmount() { EXPECT_EQ(std::system(("umount " + path).c_str()), 0); }
  } unmount{disk.string()};
  const auto config = grpo_config("a.toml", "disk/run");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(config, {.resume = false, .stop_after_steps = 1}, threads, reporter);
  write_file_atomically(disk / "ballast", std::string(size_t{44} << 20, 'x'));
  std::string message;
  try {
    run_grpo_config(config, {.resume = true, .stop_after_steps = 0}, threads, reporter);
  } catch (const Error& e) {
    message = e.what();
  }
  EXPECT_NE(message.find("no space left"), std::string::npos) << message;
  EXPECT_NE(message.find("is intact"), std::string::npos) << message;
  std::filesystem::remove(disk / "ballast");
  EXPECT_EQ(finish(config, 2, true), finish(grpo_config("b.toml", "b"), 2));
}

}  // namespace
}  // namespace r1::grpo_test
