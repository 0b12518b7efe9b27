// recipe/fine_tune_stage.cc: sft and distill: training on documents that are answers.
#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "model/gguf_config.h"
#include "recipe/inputs.h"
#include "recipe/sft_data.h"
#include "recipe/stage_run.h"
#include "recipe/teacher.h"
#include "train/default_lr.h"
#include "train/out_folder.h"

namespace r1 {
namespace {

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
  const ModelConfig model = load_model_config(file.stage.model);
  check_balance(settings, file.training, model);
  const std::vector<int64_t> longest{file.stage.max_tokens - 1};
  check_memory(memory_of(model, file.training, longest, threads), limit, "a step of the student",
               "batch.micro or data.max_tokens", file.training.run.device);
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
  note_unless_empty(reporter,
                    choose_lr(config.optimizer, file, Teaching::fine_tuning, bundle.model.config()));
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

}  // namespace

void read_fine_tune_keys(std::string_view kind, ConfigFile& file) {
  read_fine_tune_file(file, kind);
}

std::filesystem::path run_sft_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  FineTune f = check_fine_tune_file(open_stage_file(path, overrides), "sft").stage;
  RunDirectory::check_free(f.run.out, options.resume);
  find_inputs(f);
  ConfigFile file = open_stage_file(path, overrides);
  read_fine_tune(file, "sft");  // the keys that are not training's
  std::optional<RunDirectory> run;
  return fine_tune(file, f, run, options, threads, reporter);
}

std::filesystem::path run_distill_config(const std::filesystem::path& path, const TrainOptions& options,
                                         ThreadPool& threads, Reporter& reporter,
                                         const StageOverrides& overrides) {
  ConfigFile whole = open_stage_file(path, overrides, "student");
  FineTuneFile all = check_fine_tune_file(open_stage_file(path, overrides, "student"), "distill");
  FineTune& f = all.stage;
  RunDirectory::check_free(f.run.out, options.resume);
  find_inputs(f);
  f.teacher->memory_limit = options.memory_limit;
  f.teacher->stop = options.stop;
  check_student(whole, all, options.memory_limit, threads);
  std::optional<Teacher> teacher(std::in_place, *f.teacher, f.run.out, threads);
  FineTuneFile read = read_fine_tune_file(whole, "distill");
  choose_lr(read.training.optimizer, whole, Teaching::fine_tuning, load_model_config(f.model));
  std::optional<RunDirectory> run(std::in_place, f.run, whole, options.resume);
  teacher->sample(reporter);
  teacher.reset();  // its memory is the student's now
  ConfigFile file = open_stage_file(path, overrides, "student");
  read_fine_tune(file, "distill");
  return fine_tune(file, f, run, options, threads, reporter);
}

}  // namespace r1
