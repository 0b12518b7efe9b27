// cli/recipe.cc: `r1 recipe`: runs the stages of a pipeline, shows their live curve and the changes between
// evaluations.
#include "recipe/recipe.h"

#include <errno.h>  // program_invocation_name
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "formats/jsonl.h"
#include "train/train_options.h"

namespace r1 {
namespace {

class TerminalRecipe : public RecipeReporter {
 public:
  void stage(const std::string& name, const std::string& kind, int64_t index, int64_t count) override {
    steps_.note(fmt::format("\n[{}/{}] {} ({})", index, count, name, kind));
  }
  void evaluated(const std::string&, const Json& r) override {
    counter_.reset();
    steps_.note(fmt::format(
        "pass@1 {:.3f}  (95 % interval {:.3f} to {:.3f}; {} problems x {} samples)  thinking {:.0f} tokens",
        r.get_number("pass_at_1"), r.get_number("low"), r.get_number("high"), r.get_int("problems"),
        r.get_int("samples"), r.get_number("mean_thinking")));
  }
  void progress(int64_t done, int64_t total) override {
    if (!counter_) counter_.emplace("samples", total);
    counter_->add(done - counted_);
    counted_ = done == total ? 0 : done;
  }
  void step(const Json& metrics, int64_t steps) override { steps_.step(metrics, steps); }
  void note(const std::string& line) override { steps_.note(line); }

 private:
  TerminalReporter steps_ = TerminalReporter::on_stderr();
  std::optional<Counter> counter_;
  int64_t counted_ = 0;
};

std::string indented(const std::string& text) {
  std::string out = "    ";
  for (const char c : printable(text)) out += c == '\n' ? std::string("\n    ") : std::string(1, c);
  return out;
}

// Shows the first few problems that the earlier model got wrong and the later one right.
void show_examples(const std::filesystem::path& before, const std::filesystem::path& after) {
  constexpr int kExamples = 3;
  std::map<int64_t, Json> first;
  for (Json& row : read_jsonl(before / "samples.jsonl")) {
    if (row.get_int("sample") == 0) first.emplace(row.get_int("problem"), std::move(row));
  }
  int shown = 0;
  for (const Json& row : read_jsonl(after / "samples.jsonl")) {
    const auto at = first.find(row.get_int("problem"));
    if (shown == kExamples || row.get_int("sample") != 0 || at == first.end()) continue;
    if (at->second.get_bool("correct") || !row.get_bool("correct")) continue;
    write_stderr(fmt::format("\n  {}\n  before:\n{}\n  after:\n{}\n", row.get_string("question"),
                             indented(at->second.get_string("text")), indented(row.get_string("text"))));
    ++shown;
  }
}

// Prints one line per evaluation if there are more than two.
void show_arms(const Json& summary) {
  const auto& stages = summary.at("stages").members();
  const auto is_eval = [](const auto& stage) { return stage.second.get_string("kind") == "eval"; };
  if (std::ranges::count_if(stages, is_eval) < 3) return;
  write_stderr(fmt::format("\n  {:<16} {:>7}  {:<16} {:>8} {:>9}\n", "evaluation", "pass@1", "95 % interval",
                           "thinking", "truncated"));
  for (const auto& [name, stage] : stages) {
    if (stage.get_string("kind") != "eval") continue;
    const Json& r = stage.at("result");
    write_stderr(fmt::format("  {:<16} {:>7.3f}  {:.3f} to {:.3f}   {:>8.1f} {:>8.1f}%\n", name,
                             r.get_number("pass_at_1"), r.get_number("low"), r.get_number("high"),
                             r.get_number("mean_thinking"), 100 * r.get_number("truncated")));
  }
}

// Prints the first evaluation beside the next one of the same task.
void show_change(const RecipeResult& result) {
  std::string first, last;
  const auto& stages = result.summary.at("stages").members();
  for (const auto& [name, stage] : stages) {
    if (stage.get_string("kind") != "eval") continue;
    const std::string task = stage.at("result").get_string("task");
    if (first.empty()) {
      first = name;
    } else if (last.empty() &&
               task == result.summary.at("stages").at(first).at("result").get_string("task")) {
      last = name;
    }
  }
  if (last.empty()) return;
  const Json& a = result.summary.at("stages").at(first).at("result");
  const Json& b = result.summary.at("stages").at(last).at("result");
  const double grown = b.get_number("mean_thinking") / std::max(1e-9, a.get_number("mean_thinking"));
  write_stderr(
      fmt::format("\nheld-out {}: pass@1 {:.3f} -> {:.3f}; thinking of correct answers {:.1f} -> {:.1f} "
                  "tokens ({:.2f}x)\n",
                  a.get_string("task"), a.get_number("pass_at_1"), b.get_number("pass_at_1"),
                  a.get_number("mean_thinking"), b.get_number("mean_thinking"), grown));
  show_examples(result.out / first, result.out / last);
}

// Returns the command that continues this recipe, quoted for the shell.
std::string command_to_go_on(const RecipeCommandOptions& options, bool all) {
  std::string command = shell_word(::program_invocation_name) + " recipe " + shell_word(options.config);
  if (options.seed) command += fmt::format(" --seed {}", *options.seed);
  if (!options.out.empty()) command += " --out " + shell_word(options.out);
  for (const std::string& assignment : options.set) command += " --set " + shell_word(assignment);
  if (options.force) command += " --force";
  return command + (all ? " --all" : "") + " --resume";
}

// Names the best model of the run with its figure and the command to chat with it; without one, the last
// model made.
void show_best(const RecipeResult& result) {
  if (result.best.empty()) {
    if (!result.model.empty()) write_stderr(fmt::format("\nthe model is {}\n", result.model.string()));
    return;
  }
  const Json& figures = result.summary.at("stages").at(result.best_stage).at("result");
  write_stderr(fmt::format("\nthe best model is {}: pass@1 {:.3f} on {}\ntalk with it: {} run {}\n",
                           result.best, figures.get_number("pass_at_1"), figures.get_string("task"),
                           shell_word(::program_invocation_name), shell_word(result.best)));
}

}  // namespace

int run_recipe_command(const RecipeCommandOptions& options) {
  check_training(options.common);
  const StopSignals signals;
  RecipeResult result;
  std::string stopped;
  try {
    ThreadPool threads(thread_count(options.common));
    TerminalRecipe reporter;
    result = run_recipe(options.config,
                        {.resume = options.resume,
                         .all = options.all,
                         .seed = options.seed,
                         .out = options.out,
                         .device = options.common.device,
                         .memory_limit = memory_limit(options.common),
                         .stop = StopSignals::asked,
                         .set = options.set,
                         .force = options.force},
                        threads, reporter);
  } catch (const Stopped& e) {
    stopped = e.what();
  }
  if (!stopped.empty()) return report_stop(stopped, command_to_go_on(options, options.all));
  show_arms(result.summary);
  show_change(result);
  if (result.left_out > 0) {
    write_stderr(fmt::format("\noptional stages left out: {}; to run them too: {}\n", result.left_out,
                             command_to_go_on(options, true)));
  }
  if (options.common.json) {
    write_stdout(result.summary.dump() + "\n");
  } else {
    show_best(result);
  }
  return 0;
}

}  // namespace r1
