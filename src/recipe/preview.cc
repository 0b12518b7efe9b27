#include "recipe/preview.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "formats/config_file.h"
#include "recipe/inputs.h"
#include "recipe/pretrain_data.h"
#include "recipe/sft_data.h"
#include "recipe/stages.h"
#include "recipe/teacher.h"
#include "train/grpo.h"
#include "train/open_problems.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;
using UseItem = std::function<void(const Tokenizer&, const PreviewItem&)>;
using NoteLine = std::function<void(const std::string&)>;

ConfigFile read_with(const fs::path& config, std::span<const std::string> set) {
  ConfigFile file = ConfigFile::read(config);
  for (const std::string& assignment : set) file.set(assignment);
  return file;
}

bool fits(const fs::path& config, std::span<const std::string> set, std::string_view kind) {
  try {
    ConfigFile file = read_with(config, set);
    read_stage_keys(kind, file);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Passes at most `count` documents to the user.
class Documents {
 public:
  Documents(const ModelBundle& bundle, int64_t count, const UseItem& use)
      : bundle_(bundle), count_(count), use_(use) {}
  bool add(const std::string& from, const Document& document, int64_t pieces = 1) {
    use_(bundle_.tokenizer,
         {.from = from, .tokens = document.tokens, .trained = document.trained, .pieces = pieces});
    return ++done_ < count_;
  }

 private:
  const ModelBundle& bundle_;
  int64_t count_, done_ = 0;
  const UseItem& use_;
};

void preview_sft(ConfigFile& file, int64_t count, const UseItem& use, const NoteLine& note) {
  const DataFiles data = read_data_files(file);
  const LossOn loss_on = read_loss_on(file, LossOn::answer);
  const int64_t max_tokens = file.integer_or("data.max_tokens", PretrainConfig().max_tokens, 2, 1 << 28);
  const ModelBundle bundle = ModelBundle::load(model_of(file, "model", file.text("model")));
  Documents documents(bundle, count, use);
  each_sft_document(
      data, bundle, loss_on, max_tokens,
      [&](const TrainingRow& row, const Document& d) { return documents.add(row.where(), d); }, note);
}

void preview_pretrain(ConfigFile& file, int64_t count, const UseItem& use, const NoteLine& note) {
  const PretrainConfig config = read_pretrain_config(file);
  PretrainData data = read_pretrain_data(file, config.run.seed);
  if (!data.model.empty()) data.model = model_of(file, "model", data.model).string();
  const ModelBundle bundle = make_pretrain_bundle(data, config, 0);
  Documents documents(bundle, count, use);
  if (data.rows.files.empty()) {
    const DocumentSource source = pretrain_documents(data, bundle, config.max_tokens);
    for (int64_t i = 0; i < count; ++i) documents.add(fmt::format("countdown {}", i), source(i));
    return;
  }
  each_pretrain_document(
      data, bundle,
      [&](const TrainingRow& row, const Document& d) {
        const auto pieces = std::max<int64_t>(1, std::ssize(pieces_of(d, config.max_tokens)));
        return documents.add(row.where(), d, pieces);
      },
      note);
}

void preview_prompts(const fs::path& model, const ProblemData& data, PromptFormat format, uint64_t seed,
                     int64_t count, const UseItem& use, const NoteLine& note) {
  load_prompt_format(format);
  const ModelBundle bundle = ModelBundle::load(model);
  const std::string bare = check_prompt_format(bundle, format, model.string());
  if (!bare.empty()) note(bare);
  const ProblemSource problems = open_problems(data, seed, bundle, format);
  for (const std::string& line : problems.notes()) note(line);
  if (problems.size() > 0) count = std::min(count, problems.size());
  for (int64_t i = 0; i < count; ++i) {
    const Problem problem = problems.at(i);
    ChatPrompt prompt = make_prompt(bundle, format, problem.question);
    use(bundle.tokenizer, {.from = fmt::format("{} {}", problem.task, i),
                           .tokens = std::move(prompt.tokens),
                           .gold = problem.gold});
  }
}

}  // namespace

std::string kind_of_config(const fs::path& config, std::span<const std::string> set) {
  const ConfigFile file = read_with(config, set);
  if (file.has("teacher") || file.has("student")) return "distill";
  if (file.has("model.config") || file.has("tokenizer")) return "pretrain";
  if (file.has("critic")) return "ppo";
  for (const char* section : {"rollout", "reward", "loss", "filter", "prompt"}) {
    if (file.has(section)) return "grpo";
  }
  std::vector<std::string> kinds;
  for (const char* kind : {"pretrain", "sft", "grpo"}) {
    if (fits(config, set, kind)) kinds.emplace_back(kind);
  }
  if (kinds.size() > 1) {
    throw Error(fmt::format("{}: may be a configuration of {}: say which with --kind", config.string(),
                            fmt::join(kinds, " or ")));
  }
  return kinds.empty() ? "sft" : kinds.front();
}

void preview(const fs::path& config, std::span<const std::string> set, std::string_view kind, int64_t count,
             const UseItem& use, const NoteLine& note) {
  {
    ConfigFile whole = read_with(config, set);
    read_stage_keys(kind, whole);  // reports mistakes of the file as training would
  }
  ConfigFile file = read_with(config, set);
  if (kind == "pretrain") {
    preview_pretrain(file, count, use, note);
  } else if (kind == "sft") {
    preview_sft(file, count, use, note);
  } else if (kind == "grpo" || kind == "ppo") {
    const GrpoConfig grpo = kind == "ppo" ? read_ppo_config(file) : read_grpo_config(file);
    const fs::path model = model_of(file, "model", file.text("model"));
    preview_prompts(model, grpo.data, grpo.prompt, grpo.run.seed, count, use, note);
  } else {
    R1_CHECK(kind == "distill", kind);
    const TeacherConfig teacher = read_teacher_config(file, read_run_config(file, "distill"));
    const fs::path model = model_of(file, "teacher", teacher.teacher);
    if (teacher.problems > 0) count = std::min(count, teacher.problems);
    preview_prompts(model, teacher.data, teacher.prompt, teacher.seed, count, use, note);
  }
}

}  // namespace r1
