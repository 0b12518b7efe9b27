#include "recipe/stages.h"

#include "base/error.h"
#include "recipe/inputs.h"
#include "recipe/stage_run.h"

namespace r1 {

StageRunner stage_runner(std::string_view kind) {
  if (kind == "pretrain") return run_pretrain_config;
  if (kind == "sft") return run_sft_config;
  if (kind == "grpo") return run_grpo_config;
  if (kind == "ppo") return run_ppo_config;
  R1_CHECK(kind == "distill", kind);
  return run_distill_config;
}

void read_stage_keys(std::string_view kind, ConfigFile& file) {
  if (kind == "pretrain") {
    read_pretrain_keys(file);
  } else if (kind == "grpo" || kind == "ppo") {
    read_rl_keys(kind, file);
  } else {
    R1_CHECK(kind == "sft" || kind == "distill", kind);
    read_fine_tune_keys(kind, file);
  }
  file.finish();
}

void check_stage_config(std::string_view kind, const std::filesystem::path& path,
                        const StageOverrides& overrides) {
  const std::string_view model_key = kind == "distill" ? "student" : "model";
  ConfigFile file = open_stage_file(path, overrides, model_key);
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

}  // namespace r1
