// recipe/pretrain_stage.cc: pretrain: training on a task's corpus or on files.
#include "base/error.h"
#include "recipe/inputs.h"
#include "recipe/pretrain_data.h"
#include "recipe/stage_run.h"
#include "train/out_folder.h"

namespace r1 {
namespace {

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

void read_pretrain_keys(ConfigFile& file) {
  read_pretrain_stage(file);
}

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open_stage_file(path, overrides);
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

}  // namespace r1
