#include "recipe/stages.h"

#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "model/gguf_config.h"
#include "recipe/inputs.h"
#include "recipe/pretrain_data.h"
#include "recipe/sft_data.h"
#include "recipe/teacher.h"
#include "recipe/training_evals.h"
#include "train/critic.h"
#include "train/default_lr.h"
#include "train/grpo.h"
#include "train/grpo_step.h"
#include "train/memory.h"
#include "train/open_problems.h"
#include "train/out_folder.h"

namespace r1 {
namespace {

ModelConfig config_of(const std::filesystem::path& model) {
  return load_model_config(model);
}

ConfigFile open(const std::filesystem::path& path, const StageOverrides& overrides,
                std::string_view model_key = "model") {
  ConfigFile file = ConfigFile::read(path);
  for (const std::string& assignment : overrides.set) file.set(assignment);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.device.empty()) file.override_with("device", Json(overrides.device));
  const auto absolute = [](const std::string& given) {
    return Json(std::filesystem::absolute(given).string());
  };
  if (!overrides.model.empty()) file.override_with(model_key, absolute(overrides.model));
  if (!overrides.teacher.empty()) file.override_with("teacher", absolute(overrides.teacher));
  return file;
}

// Checks that the files exist, before anything is loaded.
void check_files(const ConfigFile& file, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::error_code none;
    if (!std::filesystem::exists(name, none))
      file.fail("data.files", fmt::format("names {}, which is not there", name));
  }
}

// The settings of a fine-tuning stage (sft or distill).
struct FineTune {
  RunConfig run;
  std::string model;                     // a distillation's student
  DataFiles data;                        // for a distillation, the file that its teacher writes
  std::optional<TeacherConfig> teacher;  // set for a distillation
  LossOn loss_on = LossOn::answer;
  int64_t max_tokens = 0;
  int64_t batch_tokens = 0;
  int64_t epochs = 0;  // 0: optimizer.steps gives the length
  TrainingEvalConfig evals;
};

FineTune read_fine_tune(ConfigFile& file, std::string_view kind) {
  FineTune f;
  f.run = read_run_config(file, kind);
  f.loss_on = read_loss_on(file, LossOn::answer);
  f.max_tokens = file.integer_or("data.max_tokens", PretrainConfig().max_tokens, 2, 1 << 28);
  f.batch_tokens = file.integer_or("batch.tokens", PretrainConfig().batch_tokens, 2, 1 << 28);
  if (file.has("optimizer.steps") == file.has("data.epochs"))
    file.fail("data.epochs", "and optimizer.steps: exactly one of the two must be given");
  if (file.has("data.epochs")) f.epochs = file.integer("data.epochs", 1, 1 << 20);
  if (kind == "distill") {
    f.teacher = read_teacher_config(file, f.run);
    f.model = file.text("student");
    f.data.files = {(f.run.out / "data.jsonl").string()};
    f.data.selection.deduplicate = false;  // a problem that was drawn twice is trained on twice
    f.data.is_own = true;
  } else {
    f.model = file.text("model");
    f.data = read_data_files(file);
    if (f.data.files.empty()) file.fail("data.files", "is missing: a list of JSONL files");
  }
  f.evals = read_training_evals(file, f.run, EvalOptions().sampling.max_tokens, true);
  if (f.evals.held_out > 0 && !f.teacher) {
    if (f.data.selection.side == RowSelection::Side::held_out)
      file.fail(
          "data.split",
          "is \"held_out\", so the rows of data.held_out would be trained on; leave one of the two out");
    f.data.selection.side = RowSelection::Side::train;
  }
  return f;
}

// Loads the template's file and adds it to the run's inputs.
void open_prompt_format(PromptFormat& format, RunConfig& run) {
  load_prompt_format(format);
  if (!format.file.empty()) run.inputs.set("prompt.template", content_of_files({format.file}));
}

// Reads the training settings. [data] epochs = N has become optimizer.steps. The default of balance.gamma is
// 0, which leaves a router's selection bias as it is.
PretrainConfig read_fine_tune_training(ConfigFile& file, const FineTune& f) {
  const double gamma = file.number_or("balance.gamma", 0, 0, 1);
  PretrainConfig config = read_pretrain_config(file, kTeachingDefaults);
  config.run.kind = f.run.kind;
  config.bias_gamma = gamma;
  return config;
}

// Reads the whole file. The number of steps in N epochs follows from the data, so any number does until that
// is read.
struct FineTuneFile {
  FineTune stage;
  PretrainConfig training;
};
FineTuneFile read_fine_tune_file(ConfigFile& file, std::string_view kind) {
  FineTuneFile out{.stage = read_fine_tune(file, kind), .training = {}};
  if (out.stage.epochs > 0) file.override_with("optimizer.steps", Json(int64_t{1} << 40), false);
  out.training = read_fine_tune_training(file, out.stage);
  file.finish();
  return out;
}

// Checks the file before anything else, so that a mistake is reported before a teacher is asked or a data set
// is read. Finds the models.
FineTuneFile check_fine_tune_file(ConfigFile file, std::string_view kind) {
  FineTuneFile out = read_fine_tune_file(file, kind);
  FineTune& stage = out.stage;
  const char* key = kind == "distill" ? "student" : "model";
  if (stage.teacher) {
    stage.teacher->teacher = model_of(file, "teacher", stage.teacher->teacher).string();
    check_files(file, stage.teacher->data.files);
  }
  stage.model = model_of(file, key, stage.model).string();
  stage.run.out = check_run_folder(stage.run.out);
  return out;
}

void note_warnings(const Model& model, Reporter& reporter) {
  for (const std::string& line : model.warnings()) reporter.note(line);
}

void tell(Reporter& reporter, const std::string& line) {
  if (!line.empty()) reporter.note(line);
}

void find_inputs(FineTune& f) {
  f.run.inputs.set(f.teacher ? "student" : "model", content_of_model(f.model));
  if (f.teacher) {
    f.run.inputs.set("teacher", content_of_model(f.teacher->teacher));
    const std::vector<std::string>& problems = f.teacher->data.files;
    if (!problems.empty()) f.run.inputs.set("data.files", content_of_files(problems));
    open_prompt_format(f.teacher->prompt, f.run);
  } else {
    f.run.inputs.set("data.files", content_of_files(f.data.files));
  }
}

// Checks that the student can be trained so, and that this fits into memory, before the teacher samples for
// hours. Its rows are not known yet and are assumed to have the largest permitted length.
void check_student(const ConfigFile& settings, const FineTuneFile& file, int64_t limit, ThreadPool& threads) {
  if (RunDirectory::finished(file.stage.run.out)) return;
  const ModelConfig model = config_of(file.stage.model);
  check_balance(settings, file.training, model);
  const std::vector<int64_t> longest{file.stage.max_tokens - 1};
  check_memory(memory_of(model, file.training, longest, threads), limit, "a step of the student",
               "batch.micro or data.max_tokens", file.training.run.device);
}

// A stage whose settings, model and data are known. The members outlive run_stage.
struct ReadyStage {
  ConfigFile& file;
  const RunConfig& run;
  const ModelBundle& bundle;  // the model in training
  const TrainingEvalConfig& evals;
  const MemoryEstimate& memory;  // of a step
  std::string_view lower;        // names the settings that lower it
  int64_t micro_tokens = 0, steps = 0;
  std::vector<Document> validation = {};
  std::function<void()> last_check = {};
  std::function<void(RunDirectory&, const TrainOptions&)> train;
};

// Checks the memory, opens the evaluations and the run's folder, and trains. `run` is set for a distillation,
// which opens it before its teacher is asked. Returns the directory of the finished model.
std::filesystem::path run_stage(ReadyStage stage, std::optional<RunDirectory>& run,
                                const TrainOptions& options, ThreadPool& threads, Reporter& reporter) {
  if (options.planned) {
    options.planned(stage.memory, stage.steps);
    return {};
  }
  const bool finished = RunDirectory::finished(stage.run.out, stage.steps);
  if (!finished) check_memory(stage.memory, options.memory_limit, "a step", stage.lower, stage.run.device);
  TrainingEvals evals(stage.evals, stage.file, stage.run, stage.bundle, std::move(stage.validation),
                      stage.micro_tokens, stage.steps, threads, reporter);
  if (!finished) evals.check_memory_with(stage.memory, options.memory_limit);
  if (stage.last_check) stage.last_check();
  if (!run) run.emplace(stage.run, stage.file, options.resume);
  TrainOptions measured = options;
  measured.measures = evals.measures();
  stage.train(*run, measured);
  return run->model_path();
}

// Returns the documents of the held-out rows of all files. A small file may have none.
std::vector<Document> held_out_documents(const FineTune& f, const ModelBundle& bundle,
                                         const ConfigFile& file) {
  std::vector<Document> documents;
  for (const std::string& path : f.data.files) {
    DataFiles one = f.data;
    one.files = {path};
    one.selection.side = RowSelection::Side::held_out;
    try {
      for (Document& d : read_sft_documents(one, bundle, f.loss_on, f.max_tokens))
        documents.push_back(std::move(d));
    } catch (const Error&) {  // no row is on that side; the training side reports all mistakes of the file
    }
  }
  if (documents.empty())
    file.fail("data.held_out",
              fmt::format("is {}, which leaves no document for the validation loss; raise it, or name "
                          "[validation] files",
                          f.evals.held_out));
  return documents;
}

// Trains a fine-tuning stage like pre-training, with documents of its own. `f` has its models and inputs.
// `run` is set for a distillation, which opens it before its teacher is asked; otherwise the run is opened
// once everything is checked.
std::filesystem::path fine_tune(ConfigFile& file, const FineTune& f, std::optional<RunDirectory>& run,
                                const TrainOptions& options, ThreadPool& threads, Reporter& reporter) {
  ModelBundle bundle = ModelBundle::load(f.model, DType::f32, WeightUse::training, memory_of(f.run.device));
  note_warnings(bundle.model, reporter);
  std::vector<Document> documents = read_sft_documents(f.data, bundle, f.loss_on, f.max_tokens,
                                                       [&](const std::string& line) { reporter.note(line); });
  std::vector<Document> validation;
  if (!f.evals.files.empty()) {
    DataFiles own = f.data;
    own.files = f.evals.files;
    own.selection = {.deduplicate = false};
    validation = read_sft_documents(own, bundle, f.loss_on, f.max_tokens,
                                    [&](const std::string& line) { reporter.note(line); });
  } else if (f.evals.held_out > 0 && f.teacher) {
    validation = take_held_out(documents, file, f.evals.held_out);
  } else if (f.evals.held_out > 0) {
    validation = held_out_documents(f, bundle, file);
  }
  if (f.epochs > 0) {
    const int64_t steps = steps_of_epochs(documents, f.run.seed, f.batch_tokens, f.epochs, f.data.shuffle);
    file.override_with("optimizer.steps", Json(steps));
  }
  PretrainConfig config = read_fine_tune_training(file, f);
  file.finish();
  check_balance(file, config, bundle.model.config());
  config.run = f.run;
  tell(reporter, choose_lr(config.optimizer, file, Teaching::fine_tuning, bundle.model.config()));
  std::vector<int64_t> lengths;
  for (const Document& d : documents) lengths.push_back(step_tokens(d, config));
  const MemoryEstimate memory = memory_of(bundle.model.config(), config, lengths, threads);
  return run_stage({.file = file,
                    .run = config.run,
                    .bundle = bundle,
                    .evals = f.evals,
                    .memory = memory,
                    .lower = "batch.micro, or leave the longest rows out",
                    .micro_tokens = config.micro_tokens,
                    .steps = config.optimizer.steps,
                    .validation = std::move(validation),
                    .train =
                        [&](RunDirectory& at, const TrainOptions& measured) {
                          pretrain(bundle, config,
                                   epochs_of(std::move(documents), f.run.seed, f.data.shuffle), at, memory,
                                   threads, reporter, measured);
                        }},
                   run, options, threads, reporter);
}

struct PretrainStage {
  PretrainConfig config;
  PretrainData data;
  TrainingEvalConfig evals;
};

PretrainStage read_pretrain_stage(ConfigFile& file) {
  const PretrainConfig config = read_pretrain_config(file);
  return {.config = config,
          .data = read_pretrain_data(file, config.run.seed),
          .evals = read_training_evals(file, config.run, EvalOptions().sampling.max_tokens, false)};
}

struct GrpoStage {
  GrpoConfig config;
  std::string model;
  TrainingEvalConfig evals;
};

// Adds the files of the user's programs to the inputs, because a resumed run must have the same.
void find_program_files(GrpoConfig& config) {
  for (size_t i = 0; i < config.reward.programs.size(); ++i) {
    const std::vector<std::string> files = files_of(config.reward.programs[i]);
    if (!files.empty())
      config.run.inputs.set(fmt::format("reward.program[{}].command", i), content_of_files(files));
  }
}

GrpoStage read_grpo_stage(std::string_view kind, ConfigFile& file) {
  GrpoConfig config = kind == "ppo" ? read_ppo_config(file) : read_grpo_config(file);
  TrainingEvalConfig evals = read_training_evals(file, config.run, config.rollout.max_tokens, false);
  return {.config = std::move(config), .model = file.text("model"), .evals = std::move(evals)};
}

// The kind of a reinforcement learning stage whose command is not known.
std::string_view rl_kind(const ConfigFile& file) {
  return file.has("critic") ? "ppo" : "grpo";
}

// Finds the model that the critic begins with. It must be of the policy's architecture.
void open_critic(const ConfigFile& file, const ModelConfig& policy, GrpoConfig& config) {
  CriticConfig& critic = *config.critic;
  if (critic.model.empty()) return;
  critic.model = model_of(file, "critic.model", critic.model).string();
  config.run.inputs.set("critic.model", content_of_model(critic.model));
  const std::string difference = critic_difference(policy, config_of(critic.model));
  if (!difference.empty())
    file.fail("critic.model", fmt::format("names {}, whose {}: a critic has the policy's architecture and "
                                          "vocabulary",
                                          critic.model, difference));
}

// Throws Error if a setting such as [data] max_tokens exceeds the model's positions.
void check_context(const ConfigFile& file, std::string_view key, int64_t tokens, int64_t most,
                   const ModelConfig& model) {
  if (tokens > most)
    file.fail(key, fmt::format("is {}; the model's context is {}, so it must be at most {}", tokens,
                               model.max_positions, most));
}

// Returns the lengths of the first documents. Those of later steps are assumed to be similar.
std::vector<int64_t> first_lengths(const DocumentSource& documents, const PretrainConfig& config) {
  constexpr int64_t kLookedAt = 256;
  std::vector<int64_t> lengths;
  for (int64_t i = 0, tokens = 0; i < kLookedAt && tokens < config.batch_tokens; ++i) {
    lengths.push_back(step_tokens(documents(i), config));
    tokens += lengths.back();
  }
  return lengths;
}

}  // namespace

std::filesystem::path run_sft_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  FineTune f = check_fine_tune_file(open(path, overrides), "sft").stage;
  RunDirectory::check_free(f.run.out, options.resume);
  find_inputs(f);
  ConfigFile file = open(path, overrides);
  read_fine_tune(file, "sft");  // the keys that are not training's
  std::optional<RunDirectory> run;
  return fine_tune(file, f, run, options, threads, reporter);
}

std::filesystem::path run_distill_config(const std::filesystem::path& path, const TrainOptions& options,
                                         ThreadPool& threads, Reporter& reporter,
                                         const StageOverrides& overrides) {
  ConfigFile whole = open(path, overrides, "student");
  FineTuneFile all = check_fine_tune_file(open(path, overrides, "student"), "distill");
  FineTune& f = all.stage;
  RunDirectory::check_free(f.run.out, options.resume);
  find_inputs(f);
  f.teacher->memory_limit = options.memory_limit;
  f.teacher->stop = options.stop;
  check_student(whole, all, options.memory_limit, threads);
  std::optional<Teacher> teacher(std::in_place, *f.teacher, f.run.out, threads);
  FineTuneFile read = read_fine_tune_file(whole, "distill");
  choose_lr(read.training.optimizer, whole, Teaching::fine_tuning, config_of(f.model));
  std::optional<RunDirectory> run(std::in_place, f.run, whole, options.resume);
  teacher->sample(reporter);
  teacher.reset();  // its memory is the student's now
  ConfigFile file = open(path, overrides, "student");
  read_fine_tune(file, "distill");
  return fine_tune(file, f, run, options, threads, reporter);
}

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  auto [config, data, evals] = read_pretrain_stage(file);
  file.finish();
  config.run.out = check_run_folder(config.run.out);
  RunDirectory::check_free(config.run.out, options.resume);
  if (!data.model.empty()) {
    data.model = model_of(file, "model", data.model).string();
    config.run.inputs.set("model", content_of_model(data.model));
  }
  if (!data.rows.files.empty()) config.run.inputs.set("data.files", content_of_files(data.rows.files));
  ModelBundle bundle = make_pretrain_bundle(data, config, options.memory_limit);
  note_warnings(bundle.model, reporter);
  const ModelConfig& model = bundle.model.config();
  check_context(file, "data.max_tokens", config.max_tokens, model.max_positions, model);
  check_balance(file, config, model);
  const DocumentSource documents = pretrain_documents(data, bundle, config.max_tokens,
                                                      [&](const std::string& line) { reporter.note(line); });
  const MemoryEstimate memory = memory_of(model, config, first_lengths(documents, config), threads);
  std::optional<RunDirectory> run;
  return run_stage({.file = file,
                    .run = config.run,
                    .bundle = bundle,
                    .evals = evals,
                    .memory = memory,
                    .lower = "batch.micro or data.max_tokens",
                    .micro_tokens = config.micro_tokens,
                    .steps = config.optimizer.steps,
                    .train =
                        [&](RunDirectory& at, const TrainOptions& measured) {
                          pretrain(bundle, config, documents, at, memory, threads, reporter, measured);
                        }},
                   run, options, threads, reporter);
}

namespace {

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
  if (config.critic) open_critic(file, config_of(model), config);
  check_programs(file, config.reward);
  find_program_files(config);
  ModelBundle bundle =
      ModelBundle::load(model, DType::f32, WeightUse::training, memory_of(config.run.device));
  note_warnings(bundle.model, reporter);
  tell(reporter, check_prompt_format(bundle, config.prompt, model.string()));
  const ModelConfig& shape = bundle.model.config();
  check_context(file, "rollout.max_tokens", config.rollout.max_tokens, shape.max_positions - 1,
                shape);  // and a prompt
  if (!config.problems) {
    config.problems = open_problems(config.data, config.run.seed, bundle, config.prompt);
    for (const std::string& line : config.problems->notes()) reporter.note(line);
  }
  tell(reporter, choose_lr(config.optimizer, file, Teaching::reinforcement, shape));
  if (config.critic) tell(reporter, choose_critic_lr(config.critic->optimizer, file, config.optimizer));
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

}  // namespace

PreflightOfConfig preflight_grpo_config(const std::filesystem::path& path, const PreflightLimits& limits,
                                        const TrainOptions& options, ThreadPool& threads, Reporter& reporter,
                                        const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const std::string_view kind = rl_kind(file);
  OpenedGrpo opened = open_grpo(kind, std::move(file), reporter, [](RunConfig&) {});
  PreflightOfConfig out;
  out.preflight = run_preflight_samples(opened.bundle, opened.stage.config, limits, threads, options);
  out.found = findings(out.preflight, opened.stage.config);
  return out;
}

namespace {

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

std::filesystem::path run_grpo_config(const std::filesystem::path& path, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides) {
  return run_rl_config("grpo", open(path, overrides), options, threads, reporter);
}

std::filesystem::path run_ppo_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  return run_rl_config("ppo", open(path, overrides), options, threads, reporter);
}

StageRunner stage_runner(std::string_view kind) {
  if (kind == "pretrain") return run_pretrain_config;
  if (kind == "sft") return run_sft_config;
  if (kind == "grpo") return run_grpo_config;
  if (kind == "ppo") return run_ppo_config;
  R1_CHECK(kind == "distill", kind);
  return run_distill_config;
}

void check_stage_config(std::string_view kind, const std::filesystem::path& path,
                        const StageOverrides& overrides) {
  const std::string_view model_key = kind == "distill" ? "student" : "model";
  ConfigFile file = open(path, overrides, model_key);
  read_stage_keys(kind, file);
  const auto check = [&](std::string_view key, const std::string& given) {
    const std::string name = file.settings().get_string_or(key, "");
    if (given.empty() && !name.empty()) model_of(file, key, name);
  };
  const std::string prompt = file.settings().get_string_or("prompt.template", "");
  if (prompt.ends_with(".jinja") && !std::filesystem::exists(file.beside(prompt)))
    file.fail("prompt.template", "names a file that is not there: " + file.beside(prompt).string());
  check(model_key, overrides.model);
  check("teacher", overrides.teacher);
  check("critic.model", "");
  check_eval_tasks(file);
}

GrpoConfig read_grpo_settings(ConfigFile& file) {
  GrpoConfig config = read_grpo_stage(rl_kind(file), file).config;
  file.finish();
  return config;
}

void read_stage_keys(std::string_view kind, ConfigFile& file) {
  if (kind == "pretrain") {
    read_pretrain_stage(file);
  } else if (kind == "grpo" || kind == "ppo") {
    read_grpo_stage(kind, file);
  } else {
    R1_CHECK(kind == "sft" || kind == "distill", kind);
    read_fine_tune_file(file, kind);
  }
  file.finish();
}

}  // namespace r1
