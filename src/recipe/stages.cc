#include "recipe/stages.h"

#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "recipe/pretrain_data.h"
#include "recipe/sft_data.h"
#include "recipe/teacher.h"
#include "train/grpo.h"
#include "train/memory.h"

namespace r1 {
namespace {

void read_machine(ConfigFile& file) {
  file.choice_or("device", "cpu", {"cpu"});
}

ConfigFile open(const std::filesystem::path& path, const StageOverrides& overrides,
                std::string_view model_key = "model") {
  ConfigFile file = ConfigFile::read(path);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.model.empty()) file.override_with(model_key, Json(overrides.model));
  if (!overrides.teacher.empty()) file.override_with("teacher", Json(overrides.teacher));
  read_machine(file);
  return file;
}

// What fine-tuning reads of its file.
struct FineTune {
  RunConfig run;
  std::string model;                     // a distillation's student
  std::vector<std::string> files;        // of conversations; a distillation makes its own
  std::optional<TeacherConfig> teacher;  // of a distillation
  bool loss_on_answer = true;
  int64_t max_tokens = 0;
  int64_t batch_tokens = 0;
  int64_t epochs = 0;  // 0: optimizer.steps says how long
};

FineTune read_fine_tune(ConfigFile& file, std::string_view kind) {
  FineTune f;
  f.run = read_run_config(file, kind);
  f.loss_on_answer = file.choice_or("data.loss_on", "answer", {"answer", "all"}) == "answer";
  f.max_tokens = file.integer_or("data.max_tokens", PretrainConfig().max_tokens, 2, int64_t{1} << 31);
  f.batch_tokens = file.integer_or("batch.tokens", PretrainConfig().batch_tokens, 2, int64_t{1} << 31);
  if (file.has("optimizer.steps") == file.has("data.epochs"))
    file.fail("data.epochs", "or optimizer.steps is wanted: one of the two");
  if (file.has("data.epochs")) f.epochs = file.integer("data.epochs", 1, 1 << 20);
  if (kind == "distill") {
    f.teacher = read_teacher_config(file, f.run);
    f.model = file.text("student");
    f.files = {(f.run.out / "data.jsonl").string()};
  } else {
    f.model = file.text("model");
    f.files = file.texts_or("data.files", {});
    if (f.files.empty()) file.fail("data.files", "is missing: a list of JSONL files");
  }
  return f;
}

// [data] epochs = N has become optimizer.steps; the selection bias of a router is left alone unless the file
// says otherwise.
PretrainConfig read_fine_tune_training(ConfigFile& file, const FineTune& f) {
  const double gamma = file.number_or("balance.gamma", 0, 0, 1);
  PretrainConfig config = read_pretrain_config(file);
  config.run.kind = f.run.kind;
  config.bias_gamma = gamma;
  return config;
}

// The whole file. How many steps N epochs are is not known yet: any number does.
struct FineTuneFile {
  FineTune stage;
  PretrainConfig training;
};
FineTuneFile read_fine_tune_file(ConfigFile& file, std::string_view kind) {
  FineTuneFile out{.stage = read_fine_tune(file, kind), .training = {}};
  if (out.stage.epochs > 0) file.override_with("optimizer.steps", Json(int64_t{1} << 40));
  out.training = read_fine_tune_training(file, out.stage);
  file.finish();
  return out;
}

// Once before all else, so that a mistake is said before a teacher is asked or a data set is read.
FineTuneFile check_fine_tune_file(ConfigFile file, std::string_view kind) {
  FineTuneFile out = read_fine_tune_file(file, kind);
  if (out.stage.teacher) check_model_is_there(file, "teacher", out.stage.teacher->teacher);
  check_model_is_there(file, kind == "distill" ? "student" : "model", out.stage.model);
  return out;
}

void note_warnings(const Model& model, Reporter& reporter) {
  for (const std::string& line : model.warnings()) reporter.note(line);
}

// A run of pre-training's machinery.
std::filesystem::path fine_tune(ConfigFile& file, const FineTune& f, const TrainOptions& options,
                                ThreadPool& threads, Reporter& reporter) {
  ModelBundle bundle = ModelBundle::load(f.model);
  note_warnings(bundle.model, reporter);
  std::vector<Document> documents = read_sft_documents(
      f.files, bundle, f.loss_on_answer, f.max_tokens, [&](const std::string& line) {
        // A teacher's rows say where they are from: its own columns are no news.
        if (!f.teacher) reporter.note(line);
      });
  if (f.epochs > 0) {
    const int64_t steps = steps_of_epochs(documents, f.run.seed, f.batch_tokens, f.epochs);
    file.override_with("optimizer.steps", Json(steps));
  }
  const PretrainConfig config = read_fine_tune_training(file, f);
  file.finish();
  pretrain(bundle, config, file, shuffled_epochs(std::move(documents), f.run.seed), threads, reporter,
           options);
  return config.run.out / "model";
}

struct PretrainStage {
  PretrainConfig config;
  PretrainData data;
};

PretrainStage read_pretrain_stage(ConfigFile& file) {
  const PretrainConfig config = read_pretrain_config(file);
  return {.config = config, .data = read_pretrain_data(file, config.run.seed)};
}

struct GrpoStage {
  GrpoConfig config;
  std::string model;
};

GrpoStage read_grpo_stage(ConfigFile& file) {
  return {.config = read_grpo_config(file), .model = file.text("model")};
}

// "[data] max_tokens" and its like: positions that the model does not have.
void check_context(const ConfigFile& file, std::string_view key, int64_t tokens, int64_t most,
                   const ModelConfig& model) {
  if (tokens > most)
    file.fail(key,
              fmt::format("is {}, the model's context is {}: {} at most", tokens, model.max_positions, most));
}

// Before the teacher samples for hours: would the student's training fit? Its rows are not known yet; they
// are taken to be as long as they may be.
void check_student_memory(const FineTuneFile& file, int64_t limit, ThreadPool& threads) {
  if (limit == 0 || RunDirectory::finished(file.stage.run.out)) return;
  const ModelConfig model =
      read_model_config(read_json(std::filesystem::path(file.stage.model) / "config.json"));
  const PretrainConfig& training = file.training;
  MemoryEstimate memory = trained_model(model, training.run.numerics);
  memory.program = program_bytes({});
  const std::vector<int64_t> longest{file.stage.max_tokens - 1};
  const int64_t most = training.batch_tokens + longest.front();
  memory.activations = step_activations(
      model, training.run.numerics, most, longest.front(), training.micro_tokens,
      [&](int64_t tokens) { return full_micro_batch(longest, tokens, most); },
      {.backward = true, .entropy = false, .balance = training.balance_alpha > 0}, threads);
  check_memory(memory, limit, "a step of the student", "batch.micro or data.max_tokens");
}

}  // namespace

void check_model_is_there(const ConfigFile& file, std::string_view key, const std::string& model) {
  std::error_code ec;
  if (std::filesystem::exists(std::filesystem::path(model) / "config.json", ec)) return;
  file.fail(key,
            fmt::format("is \"{}\": no model is there; a Hugging Face directory with config.json is wanted",
                        model));
}

std::filesystem::path run_sft_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  check_fine_tune_file(open(path, overrides), "sft");
  ConfigFile file = open(path, overrides);
  const FineTune f = read_fine_tune(file, "sft");
  RunDirectory::check_free(f.run.out, options.resume);
  return fine_tune(file, f, options, threads, reporter);
}

std::filesystem::path run_distill_config(const std::filesystem::path& path, const TrainOptions& options,
                                         ThreadPool& threads, Reporter& reporter,
                                         const StageOverrides& overrides) {
  const FineTuneFile all = check_fine_tune_file(open(path, overrides, "student"), "distill");
  ConfigFile file = open(path, overrides, "student");
  FineTune f = read_fine_tune(file, "distill");
  f.teacher->memory_limit = options.memory_limit;
  RunDirectory::check_free(f.run.out, options.resume);
  check_student_memory(all, options.memory_limit, threads);
  sample_teacher(*f.teacher, f.run.out, threads, reporter);
  return fine_tune(file, f, options, threads, reporter);
}

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const auto [config, data] = read_pretrain_stage(file);
  file.finish();
  if (!data.model.empty()) check_model_is_there(file, "model", data.model);
  RunDirectory::check_free(config.run.out, options.resume);
  ModelBundle bundle = make_pretrain_bundle(data, config);
  note_warnings(bundle.model, reporter);
  const ModelConfig& model = bundle.model.config();
  check_context(file, "data.max_tokens", config.max_tokens, model.max_positions, model);
  pretrain(bundle, config, file, pretrain_documents(data, bundle), threads, reporter, options);
  return config.run.out / "model";
}

std::filesystem::path run_grpo_config(const std::filesystem::path& path, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const auto [config, model] = read_grpo_stage(file);
  file.finish();
  check_model_is_there(file, "model", model);
  RunDirectory::check_free(config.run.out, options.resume);
  ModelBundle bundle = ModelBundle::load(model);
  note_warnings(bundle.model, reporter);
  const ModelConfig& shape = bundle.model.config();
  check_context(file, "rollout.max_tokens", config.max_tokens, shape.max_positions - 1,
                shape);  // and a prompt
  grpo(bundle, config, file, threads, reporter, options);
  return config.run.out / "model";
}

void read_stage_keys(std::string_view kind, ConfigFile& file) {
  read_machine(file);
  if (kind == "pretrain") {
    read_pretrain_stage(file);
  } else if (kind == "grpo") {
    read_grpo_stage(file);
  } else {
    R1_CHECK(kind == "sft" || kind == "distill", kind);
    read_fine_tune_file(file, kind);
  }
  file.finish();
}

}  // namespace r1
