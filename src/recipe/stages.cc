#include "recipe/stages.h"

#include "recipe/pretrain_data.h"
#include "recipe/sft_data.h"
#include "recipe/teacher.h"
#include "train/grpo.h"
#include "train/memory.h"

namespace r1 {
namespace {

ConfigFile open(const std::filesystem::path& path, const StageOverrides& overrides,
                std::string_view model_key = "model") {
  ConfigFile file = ConfigFile::read(path);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.model.empty()) file.override_with(model_key, Json(overrides.model));
  if (!overrides.teacher.empty()) file.override_with("teacher", Json(overrides.teacher));
  return file;
}

void read_machine(ConfigFile& file) {
  file.choice_or("device", "cpu", {"cpu"});
  file.choice_or("numerics", "cpu-f32", {"cpu-f32"});
}

using StepsOfEpochs = std::function<int64_t(int64_t batch_tokens, int64_t epochs)>;

// [data] epochs = N becomes optimizer.steps; the selection bias of a router is left alone unless the file
// says otherwise.
PretrainConfig read_sft_config(ConfigFile& file, const StepsOfEpochs& steps_of) {
  const int64_t batch_tokens =
      file.integer_or("batch.tokens", PretrainConfig().batch_tokens, 2, int64_t{1} << 31);
  if (file.has("optimizer.steps") == file.has("data.epochs"))
    file.fail("data.epochs", "or optimizer.steps is wanted: one of the two");
  if (file.has("data.epochs")) {
    const int64_t epochs = file.integer("data.epochs", 1, 1 << 20);
    file.override_with("optimizer.steps", Json(steps_of(batch_tokens, epochs)));
  }
  const double gamma = file.number_or("balance.gamma", 0, 0, 1);
  PretrainConfig config = read_pretrain_config(file);
  config.bias_gamma = gamma;
  return config;
}

struct SftKeys {
  uint64_t seed = 0;
  std::filesystem::path out;
  bool loss_on_answer = true;
  int64_t max_tokens = 0;
};

SftKeys read_sft_keys(ConfigFile& file) {
  SftKeys keys;
  keys.seed = static_cast<uint64_t>(file.integer_or("seed", 0, 0, INT64_MAX));
  keys.out = file.text_or("out", "runs/" + file.text("name"));
  keys.loss_on_answer = file.choice_or("data.loss_on", "answer", {"answer", "all"}) == "answer";
  keys.max_tokens = file.integer_or("data.max_tokens", PretrainConfig().max_tokens, 2, int64_t{1} << 31);
  return keys;
}

struct SftStage {
  SftKeys keys;
  std::string model;
  std::vector<std::string> files;
};

SftStage read_sft_stage(ConfigFile& file) {
  read_machine(file);
  SftStage stage{.keys = read_sft_keys(file), .model = file.text("model"), .files = {}};
  stage.files = file.texts_or("data.files", {});
  if (stage.files.empty()) file.fail("data.files", "is missing: a list of JSONL files");
  return stage;
}

struct DistillStage {
  SftKeys keys;
  TeacherConfig teacher;
  std::string student;
};

DistillStage read_distill_stage(ConfigFile& file) {
  read_machine(file);
  const SftKeys keys = read_sft_keys(file);
  return {.keys = keys, .teacher = read_teacher_config(file, keys.seed), .student = file.text("student")};
}

struct PretrainStage {
  PretrainConfig config;
  PretrainData data;
};

PretrainStage read_pretrain_stage(ConfigFile& file) {
  read_machine(file);
  const PretrainConfig config = read_pretrain_config(file);
  return {.config = config, .data = read_pretrain_data(file, config.seed)};
}

struct GrpoStage {
  GrpoConfig config;
  std::string model;
};

GrpoStage read_grpo_stage(ConfigFile& file) {
  read_machine(file);
  return {.config = read_grpo_config(file), .model = file.text("model")};
}

// Fine-tunes on `files`, a run of pre-training's machinery.
std::filesystem::path fine_tune(ConfigFile& file, const SftKeys& keys, const std::string& model,
                                const std::vector<std::string>& files, const TrainOptions& options,
                                ThreadPool& threads, Reporter& reporter) {
  ModelBundle bundle = ModelBundle::load(model);
  std::vector<Document> documents = read_sft_documents(files, bundle, keys.loss_on_answer, keys.max_tokens);
  const PretrainConfig config = read_sft_config(file, [&](int64_t batch_tokens, int64_t epochs) {
    return steps_of_epochs(documents, keys.seed, batch_tokens, epochs);
  });
  file.finish();
  pretrain(bundle, config, file, shuffled_epochs(std::move(documents), keys.seed), threads, reporter,
           options);
  return config.out / "model";
}

// Before the teacher samples for hours: would the student's training fit? Its rows are not known yet; they
// are taken to be as long as they may be.
void check_student_memory(ConfigFile& file, const SftKeys& keys, const std::string& student, int64_t limit,
                          ThreadPool& threads) {
  if (limit == 0 || RunDirectory::finished(keys.out)) return;
  const PretrainConfig defaults;
  const int64_t micro = file.integer_or("batch.micro", defaults.micro_tokens, 2, int64_t{1} << 31);
  const int64_t batch = file.integer_or("batch.tokens", defaults.batch_tokens, 2, int64_t{1} << 31);
  const ModelConfig model = read_model_config(read_json(std::filesystem::path(student) / "config.json"));
  MemoryEstimate memory = trained_model(model);
  memory.program = program_bytes({});
  const std::vector<int64_t> longest{keys.max_tokens - 1};
  memory.activations = row_activations(model, full_micro_batch(longest, micro, batch + longest.front()),
                                       {.backward = true}, threads);
  check_memory(memory, limit, "a step of the student", "batch.micro or data.max_tokens");
}

}  // namespace

std::filesystem::path run_sft_config(const std::filesystem::path& path, const TrainOptions& options,
                                     ThreadPool& threads, Reporter& reporter,
                                     const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const SftStage stage = read_sft_stage(file);
  RunDirectory::check_free(stage.keys.out, options.resume);
  return fine_tune(file, stage.keys, stage.model, stage.files, options, threads, reporter);
}

std::filesystem::path run_distill_config(const std::filesystem::path& path, const TrainOptions& options,
                                         ThreadPool& threads, Reporter& reporter,
                                         const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides, "student");
  DistillStage stage = read_distill_stage(file);
  const SftKeys& keys = stage.keys;
  stage.teacher.memory_limit = options.memory_limit;
  RunDirectory::check_free(keys.out, options.resume);
  check_student_memory(file, keys, stage.student, options.memory_limit, threads);
  sample_teacher(stage.teacher, keys.out, threads, reporter);
  return fine_tune(file, keys, stage.student, {(keys.out / "data.jsonl").string()}, options, threads,
                   reporter);
}

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const auto [config, data] = read_pretrain_stage(file);
  file.finish();
  RunDirectory::check_free(config.out, options.resume);
  ModelBundle bundle = make_pretrain_bundle(data, config);
  pretrain(bundle, config, file, pretrain_documents(data, bundle), threads, reporter, options);
  return config.out / "model";
}

std::filesystem::path run_grpo_config(const std::filesystem::path& path, const TrainOptions& options,
                                      ThreadPool& threads, Reporter& reporter,
                                      const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const auto [config, model] = read_grpo_stage(file);
  file.finish();
  ModelBundle bundle = ModelBundle::load(model);
  grpo(bundle, config, file, threads, reporter, options);
  return config.out / "model";
}

void read_stage_keys(std::string_view kind, ConfigFile& file) {
  const StepsOfEpochs any = [](int64_t, int64_t) { return int64_t{1} << 20; };
  if (kind == "pretrain") {
    read_pretrain_stage(file);
  } else if (kind == "grpo") {
    read_grpo_stage(file);
  } else if (kind == "sft") {
    read_sft_stage(file);
    read_sft_config(file, any);
  } else {
    R1_CHECK(kind == "distill", kind);
    read_distill_stage(file);
    read_sft_config(file, any);
  }
  file.finish();
}

}  // namespace r1
