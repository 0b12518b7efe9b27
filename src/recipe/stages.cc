#include "recipe/stages.h"

#include "recipe/pretrain_data.h"
#include "train/grpo.h"

namespace r1 {
namespace {

ConfigFile open(const std::filesystem::path& path, const StageOverrides& overrides) {
  ConfigFile file = ConfigFile::read(path);
  if (overrides.seed) file.override_with("seed", Json(static_cast<int64_t>(*overrides.seed)));
  if (!overrides.out.empty()) file.override_with("out", Json(overrides.out));
  if (!overrides.model.empty()) file.override_with("model", Json(overrides.model));
  file.choice_or("device", "cpu", {"cpu"});
  file.choice_or("numerics", "cpu-f32", {"cpu-f32"});
  return file;
}

}  // namespace

std::filesystem::path run_pretrain_config(const std::filesystem::path& path, const TrainOptions& options,
                                          ThreadPool& threads, Reporter& reporter,
                                          const StageOverrides& overrides) {
  ConfigFile file = open(path, overrides);
  const PretrainConfig config = read_pretrain_config(file);
  const PretrainData data = read_pretrain_data(file, config.seed);
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
  const GrpoConfig config = read_grpo_config(file);
  const std::string model = file.text("model");
  file.finish();
  ModelBundle bundle = ModelBundle::load(model);
  grpo(bundle, config, file, threads, reporter, options);
  return config.out / "model";
}

}  // namespace r1
