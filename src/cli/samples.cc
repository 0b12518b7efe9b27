// cli/samples.cc: `r1 samples`: shows the answers of a training run, from its samples.jsonl (rollouts of
// grpo) and evals.jsonl ([[eval]]), or the answers of an evaluation.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/answer_printer.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "formats/jsonl.h"
#include "text/think.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

struct ShownSample {
  Json row;
  int64_t step = 0;  // 0: the row is from r1 eval
  std::string eval;  // the [[eval]]'s name; "": a rollout
  bool correct = false;

  std::string question() const { return row.get_string("question"); }
  std::string task() const { return row.get_string_or("task", ""); }
  // Returns a key that identifies the problem at every step.
  std::string problem() const { return eval + "\n" + question(); }
};

std::vector<fs::path> sample_files(const fs::path& run) {
  std::error_code ec;
  if (fs::is_regular_file(run, ec)) return {run};
  if (!fs::is_directory(run, ec))
    throw Error(fmt::format("{}: is no folder of a run, nor a file of samples", run.string()));
  std::vector<fs::path> files;
  for (const char* name : {"samples.jsonl", "evals.jsonl"}) {
    if (fs::exists(run / name, ec)) files.push_back(run / name);
  }
  if (!files.empty()) return files;
  std::vector<std::string> stages;
  for (const auto& entry : fs::directory_iterator(run, ec)) {
    if (fs::exists(entry.path() / "samples.jsonl", ec) || fs::exists(entry.path() / "evals.jsonl", ec))
      stages.push_back(shell_word(entry.path().string()));
  }
  std::ranges::sort(stages);
  if (!stages.empty())
    throw Error(
        fmt::format("{}: holds several stages: name one of {}", run.string(), fmt::join(stages, ", ")));
  throw Error(
      fmt::format("{}: holds neither samples.jsonl nor evals.jsonl: grpo writes the first every "
                  "log.samples_every steps, and every training with [[eval]] the second",
                  run.string()));
}

// Calls use(row) for each sample. Leaves out a torn last line, which the file of a running training may have.
void each_sample(const fs::path& run, const std::function<void(Json& row)>& use) {
  for (const fs::path& path : sample_files(run)) {
    JsonlReader reader(path);
    JsonlRow row;
    while (reader.next(row)) {
      if (!row.error.empty()) {
        std::string bad = row.error;
        if (!reader.next(row)) break;
        throw Error(bad);
      }
      use(row.value);
    }
  }
}

std::set<int64_t> steps_of_samples(const fs::path& run) {
  std::set<int64_t> steps;
  each_sample(run, [&](const Json& row) { steps.insert(row.get_int_or("step", 0)); });
  if (steps.empty()) throw Error(fmt::format("{}: has no samples yet", run.string()));
  return steps;
}

// Reads the samples of these steps alone: a run's rows with their tokens and log-probs may not fit into
// memory.
std::vector<ShownSample> read_shown_samples(const fs::path& run, const std::set<int64_t>& steps) {
  std::vector<ShownSample> samples;
  each_sample(run, [&](Json& row) {
    const int64_t step = row.get_int_or("step", 0);
    if (!steps.contains(step)) return;
    ShownSample s;
    s.step = step;
    s.eval = row.get_string_or("eval", "");
    s.correct = row.get_bool("correct");
    (void)row.get_string("question");
    s.row = std::move(row);
    samples.push_back(std::move(s));
  });
  return samples;
}

void check_step(const std::set<int64_t>& steps, const char* option, int64_t step) {
  if (!steps.contains(step))
    throw Error(fmt::format("{} is {}; there are samples of steps {}", option, step, fmt::join(steps, ", ")));
}

class SamplePrinter {
 public:
  SamplePrinter() : style_(AnswerStyle::of_stdout(false)) {}

  std::string text_of(const ShownSample& s) const {
    const Json* text = s.row.find("text");
    if (text == nullptr) return "    (no text: this run was made by an earlier version of r1)\n";
    const std::string whole = text->string();
    const bool opened = s.row.get_bool_or("prompt_opened", false);
    const auto thought = find_thought(whole, opened);
    std::string out;
    if (thought && style_.colour) {
      out = style_.dim(clean(whole.substr(thought->begin, thought->end - thought->begin)));
      const size_t rest = thought->closed ? thought->end + kThinkClose.size() : whole.size();
      out += "\n" + clean(whole.substr(std::min(rest, whole.size())));
    } else {
      out = clean(opened ? std::string(kThinkOpen) + whole : whole);
    }
    return indented_lines(out);
  }

  std::string question_of(const ShownSample& s) const { return indented_lines(clean(s.question())); }

  // Returns a headline such as "step 20  countdown3  right  38 tokens  reward 1.00".
  static std::string head_of(const ShownSample& s) {
    std::string head = s.step > 0 ? fmt::format("step {}", s.step) : std::string("evaluation");
    if (!s.eval.empty()) head += "  [[eval]] " + printable(s.eval);
    if (!s.task().empty()) head += "  " + printable(s.task());
    return head + "  " + verdict_of(s);
  }
  static std::string verdict_of(const ShownSample& s) {
    std::string text = s.correct ? "right" : "wrong: " + printable(s.row.get_string_or("why", ""));
    const std::string status = s.row.get_string_or("status", "scored");
    if (status != "scored") text += " (" + printable(status) + ")";
    if (const Json* tokens = s.row.find("tokens"))
      text +=
          fmt::format("  {} tokens", tokens->is_array() ? std::ssize(tokens->items()) : tokens->integer());
    if (s.row.get_string_or("finish_reason", "") == "length") text += ", cut off";
    if (const Json* reward = s.row.find("reward")) text += fmt::format("  reward {:.3g}", reward->number());
    return text;
  }

 private:
  static std::string clean(const std::string& text) { return printable(text); }
  static std::string indented_lines(const std::string& text) {
    const size_t begin = text.find_first_not_of('\n'), end = text.find_last_not_of('\n');
    std::string out = "    ";
    if (begin == std::string::npos) return "    (nothing)\n";
    for (const char c : text.substr(begin, end - begin + 1)) out += c == '\n' ? "\n    " : std::string(1, c);
    return out + "\n";
  }

  AnswerStyle style_;
};

bool is_wanted(const ShownSample& s, const SamplesOptions& options) {
  if (options.wrong && s.correct) return false;
  if (options.right && !s.correct) return false;
  return options.task.empty() || s.task() == options.task || s.eval == options.task;
}

int show_samples(const std::vector<ShownSample>& samples, int64_t step, const SamplesOptions& options) {
  std::vector<const ShownSample*> chosen;
  for (const ShownSample& s : samples) {
    if (s.step == step && is_wanted(s, options)) chosen.push_back(&s);
  }
  const size_t all = chosen.size();
  chosen.resize(std::min(all, static_cast<size_t>(options.limit)));
  const SamplePrinter printer;
  if (options.common.json) {
    Json rows = Json::array();
    for (const ShownSample* s : chosen) rows.push_back(s->row);
    write_stdout(
        Json::object().set("step", step).set("matching", all).set("samples", std::move(rows)).dump() + "\n");
    return 0;
  }
  for (const ShownSample* s : chosen)
    write_stdout(printer.head_of(*s) + "\n" + printer.question_of(*s) + "\n" + printer.text_of(*s) + "\n");
  write_stdout(fmt::format("{} of {} answers of step {}\n", chosen.size(), all, step));
  return 0;
}

// Answers to one problem at two steps.
struct AskedTwice {
  std::vector<const ShownSample*> before, after;
  static int64_t right(const std::vector<const ShownSample*>& list) {
    return std::ranges::count_if(list, [](const ShownSample* s) { return s->correct; });
  }
};

int show_difference(const std::vector<ShownSample>& samples, int64_t step, int64_t earlier,
                    const SamplesOptions& options) {
  std::map<std::string, AskedTwice> problems;
  std::vector<std::string> order;
  for (const ShownSample& s : samples) {
    if (s.step != step && s.step != earlier) continue;
    if (!options.task.empty() && s.task() != options.task && s.eval != options.task) continue;
    const auto [at, is_new] = problems.try_emplace(s.problem());
    if (is_new) order.push_back(s.problem());
    (s.step == step ? at->second.after : at->second.before).push_back(&s);
  }
  std::vector<const AskedTwice*> chosen;
  int64_t both = 0;
  for (const std::string& name : order) {
    const AskedTwice& p = problems.at(name);
    if (p.before.empty() || p.after.empty()) continue;
    ++both;
    const bool now_right = p.after.front()->correct;
    if ((options.wrong && now_right) || (options.right && !now_right)) continue;
    chosen.push_back(&p);
  }
  if (both == 0) {
    throw Error(
        fmt::format("no problem was asked at step {} and at step {}: grpo takes new problems at each step; "
                    "an [[eval]] asks the same ones whenever it is due",
                    earlier, step));
  }
  // Problems whose verdict has changed come first.
  std::ranges::stable_partition(
      chosen, [](const AskedTwice* p) { return p->before.front()->correct != p->after.front()->correct; });
  const size_t all = chosen.size();
  chosen.resize(std::min(all, static_cast<size_t>(options.limit)));
  if (options.common.json) {
    Json rows = Json::array();
    for (const AskedTwice* p : chosen) {
      Json before = Json::array(), after = Json::array();
      for (const ShownSample* s : p->before) before.push_back(s->row);
      for (const ShownSample* s : p->after) after.push_back(s->row);
      rows.push_back(Json::object()
                         .set("question", p->after.front()->question())
                         .set("before", std::move(before))
                         .set("after", std::move(after)));
    }
    write_stdout(Json::object()
                     .set("step", step)
                     .set("diff", earlier)
                     .set("matching", all)
                     .set("problems", std::move(rows))
                     .dump() +
                 "\n");
    return 0;
  }
  const SamplePrinter printer;
  for (const AskedTwice* p : chosen) {
    const ShownSample &before = *p->before.front(), &after = *p->after.front();
    std::string text = printer.question_of(after);
    for (const auto& [s, list] : {std::pair(&before, &p->before), std::pair(&after, &p->after)}) {
      text += fmt::format("  step {}: {}", s->step, printer.verdict_of(*s));
      if (list->size() > 1) text += fmt::format(" (right: {} of {})", AskedTwice::right(*list), list->size());
      text += "\n" + printer.text_of(*s);
    }
    write_stdout(text + "\n");
  }
  write_stdout(fmt::format("{} of {} problems that were asked at steps {} and {}\n", chosen.size(), all,
                           earlier, step));
  return 0;
}

}  // namespace

int run_samples(const SamplesOptions& options) {
  check_common(options.common);
  constexpr int64_t kMostShown = 1'000'000;
  check_between("--limit", options.limit, 1, kMostShown);
  const std::set<int64_t> steps = steps_of_samples(options.run);
  if (options.step) check_step(steps, "--step", *options.step);
  const int64_t step = options.step.value_or(*steps.rbegin());
  if (!options.diff) return show_samples(read_shown_samples(options.run, {step}), step, options);
  check_step(steps, "--diff", *options.diff);
  if (*options.diff == step)
    throw Error(fmt::format("--diff is {}, which is the step that is shown: name another", step));
  return show_difference(read_shown_samples(options.run, {step, *options.diff}), step, *options.diff,
                         options);
}

}  // namespace r1
