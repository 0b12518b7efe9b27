#include "recipe/stages.h"

#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "recipe/pretrain_data.h"
#include "recipe/sft_data.h"
#include "recipe/teacher.h"
#include "train/grpo.h"

namespace r1 {
namespace {

ConfigFile open(const std::filesystem::path& path, const StageOverrides& overrides,
                std::string_view model_key = "model") {
  ConfigFile file = ConfigFile::read(path);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.model.empty()) file.override_with(model_key, Json(overrides.model));
  if (!overrides.teacher.empty()) file.override_with("teacher", Json(overrides.teacher));
  file.choice_or("device", "cpu", {"cpu"});
  return file;
}

// A model's directory, from `key`: one that is not there is known before anything is made.
std::string read_model_key(ConfigFile& file, std::string_view key) {
  const std::string model = file.text(key);
  check_model_is_there(file, key, model);
  return model;
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
    check_model_is_there(file, "teacher", f.teacher->teacher);
    f.model = read_model_key(file, "student");
    f.files = {(f.run.out / "data.jsonl").string()};
  } else {
    f.model = read_model_key(file, "model");
    f.files = file.texts_or("data.files", {});
    if (f.files.empty()) file.fail("data.files", "is missing: a list of JSONL files");
  }
  return f;
}

// [data] epochs = N has become optimizer.steps; the selection bias of a router is left alone unless the file
// says otherwise.
PretrainConfig read_fine_tune_training(ConfigFile& file, const FineTune& f) {
  const bool balanced = file.has("balance.gamma");
  PretrainConfig config = read_pretrain_config(file);
  config.run.kind = f.run.kind;
  if (!balanced) config.bias_gamma = 0;
  return config;
}

// Reads the whole file once, so that a mistake is said before a teacher is asked or a data set is read. How
// many steps N epochs are is not known yet: any number does.
void check_fine_tune_file(ConfigFile file, std::string_view kind) {
  const FineTune f = read_fine_tune(file, kind);
  if (f.epochs > 0) file.override_with("optimizer.steps", Json(int64_t{1} << 40));
  (void)read_fine_tune_training(file, f);
  file.finish();
}

// A run of pre-training's machinery.
std::filesystem::path fine_tune(ConfigFile& file, const FineTune& f, const TrainOptions& options,
                                ThreadPool& threads, Reporter& reporter) {
  ModelBundle bundle = ModelBundle::load(f.model);
  std::vector<Document> documents = read_sft_documents(f.files, bundle, f.loss_on_answer, f.max_tokens);
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

// "[data] max_tokens" and its like: positions that the model does not have.
void check_context(const ConfigFile& file, std::string_view key, int64_t tokens, int64_t most,
                   const ModelConfig& model) {
  if (tokens > most)
    file.fail(key,
              fmt::format("is {}, the model's context is {}: {} at most", tokens, model.max_positions, most));
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
  check_fine_tune_file(open(path, overrides, "student"), "distill");
  ConfigFile file = open(path, overrides, "student");
  const FineTune f = read_fine_tune(file, "distill");
  RunDirectory::check_free(f.run.out, options.resume);
  sample_teacher(*f.teacher, f.run.out, threads, reporter);
  return fine_tune(file, f, options, threads, reporter);
}

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const PretrainConfig config = read_pretrain_config(file);
  const PretrainData data = read_pretrain_data(file, config.run.seed);
  file.finish();
  RunDirectory::check_free(config.run.out, options.resume);
  ModelBundle bundle = make_pretrain_bundle(data, config);
  const ModelConfig& model = bundle.model.config();
  check_context(file, "data.max_tokens", config.max_tokens, model.max_positions, model);
  pretrain(bundle, config, file, pretrain_documents(data, bundle), threads, reporter, options);
  return config.run.out / "model";
}

std::filesystem::path run_grpo_config(const std::filesystem::path& path, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const GrpoConfig config = read_grpo_config(file);
  const std::string model = read_model_key(file, "model");
  file.finish();
  RunDirectory::check_free(config.run.out, options.resume);
  ModelBundle bundle = ModelBundle::load(model);
  const ModelConfig& shape = bundle.model.config();
  check_context(file, "rollout.max_tokens", config.max_tokens, shape.max_positions - 1,
                shape);  // and a prompt
  grpo(bundle, config, file, threads, reporter, options);
  return config.run.out / "model";
}

}  // namespace r1
