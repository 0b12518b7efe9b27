// Every algorithm of the GRPO family: sampler and trainer are equal to the bit, and the weights are the same
// for any threads and micro-batches, and after a resumption.
#include <algorithm>
#include <map>

#include "formats/jsonl.h"
#include "tests/train/train_test_util.h"

namespace r1::grpo_family_test {
namespace {

struct Variant {
  const char* name;
  const char* rollout;  // further keys of [rollout]
  const char* more;     // further sections
};

constexpr Variant kVariants[] = {
    {"dapo", "minibatches = 2\n",
     "[loss]\nclip_high = 0.28\noverlong = \"mask\"\n[reward]\noverlong = 0.5\noverlong_tokens = "
     "10\n[filter]\ndynamic = "
     "true\nrounds = 3\n"},
    {"dr_grpo", "epochs = 2\n", "[loss]\nnormalise = \"none\"\naggregate = \"constant\"\n"},
    {"gspo", "minibatches = 3\n",
     "[loss]\nratio = \"sequence_mean\"\naggregate = \"sequence\"\nclip_low = 0.0003\nclip_high = 0.0004\n"},
    {"r1_as_printed", "epochs = 2\n",
     "[loss]\nratio = \"sequence\"\naggregate = \"sequence\"\nkl = 0.01\nclip_high = 10\n"},
    {"cispo", "minibatches = 3\n",
     "[loss]\nsurrogate = \"cispo\"\nclip_low = 1\nclip_high = 0.3\nnormalise = \"batch\"\n"},
    {"brevity", "", "[reward]\naccuracy = 1\nformat = 0.1\nbrevity = 0.2\n"},
};

class GrpoFamily : public RunFolder {
 protected:
  // Makes two steps, at once and in two parts with another number of threads. Requires one forward and the
  // same weights.
  void expect_one_forward_and_the_same_weights(const Variant& variant, Numerics numerics) {
    SCOPED_TRACE(std::string(variant.name) + " " + std::string(name_of(numerics)));
    const std::string name = std::string(variant.name) + std::string(name_of(numerics));
    const auto two_steps = [&](const char* file, const std::string& out) {
      std::string text = read_file(grpo_config(file, out, variant.rollout, variant.more));
      text.replace(text.find("steps = 4"), 9, "steps = 2");
      return write(file, "numerics = \"" + std::string(name_of(numerics)) + "\"\n" + text);
    };
    const auto whole = two_steps("a.toml", name + "_a"), parts = two_steps("b.toml", name + "_b");
    ThreadPool one(1), two(2);
    SilentReporter reporter, silent;
    const auto model = run_grpo_config(whole, {}, two, reporter);
    ASSERT_EQ(reporter.rows.size(), 2u);
    for (const Json& row : reporter.rows) {
      EXPECT_EQ(row.get_number("sampler_trainer_kl"), 0.0) << row.dump();
      EXPECT_EQ(row.get_number("sampler_trainer_max_abs"), 0.0) << row.dump();
    }
    EXPECT_FALSE(weights_of(model) == weights_of(base())) << "nothing was learned: the test shows nothing";
    run_grpo_config(parts, {.resume = false, .stop_after_steps = 1}, one, silent);
    const auto resumed = run_grpo_config(parts, {.resume = true, .stop_after_steps = 0}, one, silent);
    EXPECT_TRUE(weights_of(model) == weights_of(resumed));
  }
};

TEST_F(GrpoFamily, OneForwardAndTheSameWeightsHoweverItIsRun) {
  for (const Variant& variant : kVariants)
    expect_one_forward_and_the_same_weights(variant, Numerics::cpu_f32);
}

TEST_F(GrpoFamily, TheSameInEveryNumerics) {
  for (const Numerics numerics : {Numerics::cpu_bf16, Numerics::cpu_avx512bf16}) {
    if (machine_has(numerics)) {
      expect_one_forward_and_the_same_weights(kVariants[0], numerics);
    } else {
      std::printf("SKIPPED, LOUDLY: this machine cannot run %s\n", name_of(numerics).data());
    }
  }
}

// A checkpoint belongs to its numerics, because another one's bits would differ.
TEST_F(GrpoFamily, ResumingUnderAnotherNumericsIsRefused) {
  const auto config = grpo_config("a.toml", "a");
  ThreadPool threads(2);
  SilentReporter silent;
  run_grpo_config(config, {.resume = false, .stop_after_steps = 1}, threads, silent);
  const auto other = write("a.toml", "numerics = \"cpu-bf16\"\n" + read_file(config));
  try {
    run_grpo_config(other, {.resume = true, .stop_after_steps = 0}, threads, silent);
    FAIL() << "it went on";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("numerics cpu-f32"), std::string::npos) << e.what();
  }
}

TEST_F(GrpoFamily, DynamicSamplingTrainsOnGroupsThatDiffer) {
  const auto config = grpo_config("a.toml", "a", "", "[filter]\ndynamic = true\nrounds = 8\n");
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(config, {}, threads, reporter);
  bool dropped = false;
  for (const Json& row : reporter.rows) dropped = dropped || row.get_number("groups_without_signal") > 0;
  EXPECT_TRUE(dropped) << "every group had a signal: the test shows nothing";
  std::map<std::pair<int64_t, int64_t>, std::pair<double, double>>
      range;  // (step, prompt): least and largest reward
  for (const Json& row : read_jsonl(root / "a" / "samples.jsonl")) {
    const auto key = std::pair(row.get_int("step"), row.get_int("prompt"));
    const double reward = row.get_number("reward");
    const auto [at, fresh] = range.try_emplace(key, reward, reward);
    at->second = {std::min(at->second.first, reward), std::max(at->second.second, reward)};
  }
  for (const auto& [key, rewards] : range)
    EXPECT_LT(rewards.first, rewards.second) << "step " << key.first << ", prompt " << key.second;
}

TEST_F(GrpoFamily, ARewardThatNeverVariesIsSaidOnce) {
  // One token is not an answer, so no sample has a reward.
  const auto text = read_file(grpo_config("a.toml", "a"));
  const auto at = text.find("max_tokens = 40");
  const auto config = write("b.toml", std::string(text).replace(at, 15, "max_tokens = 1"));
  ThreadPool threads(1);
  SilentReporter reporter;
  run_grpo_config(config, {.force = true}, threads, reporter);
  int said = 0;
  for (const std::string& note : reporter.notes)
    said += note.find("the reward has not varied") != std::string::npos;
  EXPECT_EQ(said, 1);
}

}  // namespace
}  // namespace r1::grpo_family_test
