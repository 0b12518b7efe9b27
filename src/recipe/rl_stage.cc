// recipe/rl_stage.cc: grpo and ppo: reinforcement learning, and its preflight.
#include <fmt/format.h>

#include "base/error.h"
#include "model/gguf_config.h"
#include "recipe/inputs.h"
#include "recipe/stage_run.h"
#include "train/critic.h"
#include "train/default_lr.h"
#include "train/grpo_step.h"
#include "train/open_problems.h"
#include "train/out_folder.h"

namespace r1 {
namespace {

struct GrpoStage {
  GrpoConfig config;
  std::string model;
  TrainingEvalConfig evals;
};

GrpoStage read_grpo_stage(std::string_view kind, ConfigFile& file) {
  GrpoConfig config = kind == "ppo" ? read_ppo_config(file) : read_grpo_config(file);
  TrainingEvalConfig evals = read_training_evals(file, config.run, config.rollout.max_tokens, false);
  return {.config = std::move(config), .model = file.text("model"), .evals = std::move(evals)};
}

// The kind of a reinforcement learning stage whose command is not known.
std::string_view rl_kind(const ConfigFile& file) {
  return file.has("critic") ? "ppo" : "grpo";
}

// Adds the files of the user's programs to the inputs, because a resumed run must have the same.
void find_program_files(GrpoConfig& config) {
  for (size_t i = 0; i < config.reward.programs.size(); ++i) {
    const std::vector<std::string> files = files_of(config.reward.programs[i]);
    if (!files.empty())
      config.run.inputs.set(fmt::format("reward.program[{}].command", i), content_of_files(files));
  }
}

// Finds the model that the critic begins with. It must be of the policy's architecture.
void open_critic(const ConfigFile& file, const ModelConfig& policy, GrpoConfig& config) {
  CriticConfig& critic = *config.critic;
  if (critic.model.empty()) return;
  critic.model = model_of(file, "critic.model", critic.model).string();
  config.run.inputs.set("critic.model", content_of_model(critic.model));
  const std::string difference = critic_difference(policy, load_model_config(critic.model));
  if (!difference.empty())
    file.fail("critic.model", fmt::format("names {}, whose {}: a critic has the policy's architecture and "
                                          "vocabulary",
                                          critic.model, difference));
}

// Prepares a GRPO stage for training or a preflight. Writes nothing.
struct OpenedGrpo {
  ConfigFile file;
  GrpoStage stage;
  ModelBundle bundle;
};

OpenedGrpo open_grpo(std::string_view kind, ConfigFile file, Reporter& reporter,
                     const std::function<void(RunConfig&)>& check_out) {
  GrpoStage stage = read_grpo_stage(kind, file);
  GrpoConfig& config = stage.config;
  file.finish();
  const std::filesystem::path model = model_of(file, "model", stage.model);
  check_files(file, config.data.files);
  check_out(config.run);
  config.run.inputs.set("model", content_of_model(model));
  if (!config.data.files.empty()) config.run.inputs.set("data.files", content_of_files(config.data.files));
  open_prompt_format(config.prompt, config.run);
  if (config.critic) open_critic(file, load_model_config(model), config);
  check_programs(file, config.reward);
  find_program_files(config);
  ModelBundle bundle =
      ModelBundle::load(model, DType::f32, WeightUse::training, memory_of(config.run.device));
  note_warnings(bundle.model, reporter);
  note_unless_empty(reporter, check_prompt_format(bundle, config.prompt, model.string()));
  const ModelConfig& shape = bundle.model.config();
  check_context(file, "rollout.max_tokens", config.rollout.max_tokens, shape.max_positions - 1,
                shape);  // and a prompt
  if (!config.problems) {
    config.problems = open_problems(config.data, config.run.seed, bundle, config.prompt);
    for (const std::string& line : config.problems->notes()) reporter.note(line);
  }
  note_unless_empty(reporter, choose_lr(config.optimizer, file, Teaching::reinforcement, shape));
  if (config.critic)
    note_unless_empty(reporter, choose_critic_lr(config.critic->optimizer, file, config.optimizer));
  return {.file = std::move(file), .stage = std::move(stage), .bundle = std::move(bundle)};
}

// Runs the preflight and reports its findings. Throws Error for a run that cannot learn, unless options.force
// is set.
void check_before_first_step(OpenedGrpo& opened, const TrainOptions& options, ThreadPool& threads,
                             Reporter& reporter) {
  const GrpoConfig& config = opened.stage.config;
  const Preflight preflight = run_preflight_samples(opened.bundle, config, {}, threads, options);
  const std::vector<PreflightFinding> found = findings(preflight, config);
  for (const std::string& line : preflight_table(preflight, found)) reporter.note(line);
  for (const PreflightFinding& f : found) {
    if (!f.refuses) continue;
    if (options.force) {
      reporter.note("goes on all the same, because of --force");
      return;
    }
    throw Error(fmt::format("{}: refused before its first step: {}: {}; --force trains all the same",
                            opened.file.source(), f.what, f.advice));
  }
}

std::filesystem::path run_rl_config(std::string_view kind, ConfigFile file, const TrainOptions& options,
                                    ThreadPool& threads, Reporter& reporter) {
  OpenedGrpo opened = open_grpo(kind, std::move(file), reporter, [&](RunConfig& run) {
    run.out = check_run_folder(run.out);
    RunDirectory::check_free(run.out, options.resume);
  });
  const GrpoConfig& config = opened.stage.config;
  opened.stage.evals.prompt = config.prompt;
  opened.stage.evals.max_tokens = config.rollout.max_tokens;
  if (config.reward.decided_outside()) opened.stage.evals.judge = config.reward;
  const MemoryEstimate memory = memory_of(opened.bundle, config, threads);
  std::optional<RunDirectory> run;
  return run_stage({.file = opened.file,
                    .run = config.run,
                    .bundle = opened.bundle,
                    .evals = opened.stage.evals,
                    .memory = memory,
                    .lower = "batch.micro, rollout.batch or rollout.max_tokens",
                    .micro_tokens = config.micro_tokens,
                    .steps = config.optimizer.steps,
                    .last_check =
                        [&] {
                          if (!RunDirectory::has_trained(config.run.out))
                            check_before_first_step(opened, options, threads, reporter);
                        },
                    .train =
                        [&](RunDirectory& at, const TrainOptions& measured) {
                          grpo(opened.bundle, config, at, memory, threads, reporter, measured);
                        }},
                   run, options, threads, reporter);
}

}  // namespace

void read_rl_keys(std::string_view kind, ConfigFile& file) {
  read_grpo_stage(kind, file);
}

GrpoConfig read_grpo_settings(ConfigFile& file) {
  GrpoConfig config = read_grpo_stage(rl_kind(file), file).config;
  file.finish();
  return config;
}

PreflightOfConfig preflight_grpo_config(const std::filesystem::path& path, const PreflightLimits& limits,
                                        const TrainOptions& options, ThreadPool& threads, Reporter& reporter,
                                        const StageOverrides& overrides) {
  ConfigFile file = open_stage_file(path, overrides);
  const std::string_view kind = rl_kind(file);
  OpenedGrpo opened = open_grpo(kind, std::move(file), reporter, [](RunConfig&) {});
  PreflightOfConfig out;
  out.preflight = run_preflight_samples(opened.bundle, opened.stage.config, limits, threads, options);
  out.found = findings(out.preflight, opened.stage.config);
  return out;
}

std::filesystem::path run_grpo_config(const std::filesystem::path& path, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides) {
  return run_rl_config("grpo", open_stage_file(path, overrides), options, threads, reporter);
}

std::filesystem::path run_ppo_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  return run_rl_config("ppo", open_stage_file(path, overrides), options, threads, reporter);
}

}  // namespace r1
