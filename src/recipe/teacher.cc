#include "recipe/teacher.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/task.h"
#include "engine/ask.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "formats/jsonl.h"
#include "recipe/inputs.h"
#include "reward/answer.h"
#include "text/think.h"
#include "train/memory.h"
#include "train/open_problems.h"
#include "train/train_options.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kAsTheyAre = "none";  // weights that rollout.quantize leaves alone
constexpr uint32_t kTeacherStep = 0x54454143;    // "TEAC"; training steps count from 0 and stay below

struct Good {
  const Completion* completion;
  std::string text;
};

bool has_repeats(const std::string& text) {
  const std::string thought = text.substr(0, text.find("</think>"));
  std::set<std::string> seen;
  std::istringstream lines(thought);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && !seen.insert(line).second) return true;
  }
  return false;
}

std::string key_of(const TeacherConfig& c, const std::string& weights, const std::string& chat_template) {
  std::string text = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}", c.data.task, c.seed, c.problems,
                                 c.sampling.samples, c.sampling.max_tokens, c.sampling.params.temperature,
                                 c.sampling.params.top_p, c.keep, c.shortest, c.repeats, c.filter_tokens,
                                 name_of(c.numerics), weights, chat_template);
  const ProblemData& d = c.data;
  if (!d.files.empty()) {
    text += fmt::format(" {} {} {} {} {} {} {} {}", content_of_files(d.files), d.question, d.answer,
                        static_cast<int>(d.side), d.held_out, d.limit, d.shuffle, d.deduplicate);
  }
  if (!c.quantize.empty()) text += " quantize " + c.quantize;
  if (!c.prompt.is_default()) text += " " + to_json(c.prompt).dump();
  return sha256_hex(text);
}

Json to_json(const TeacherConfig& c, const TeacherResult& r, const std::string& key) {
  Json json = Json::object();
  json.set("teacher", c.teacher)
      .set("numerics", name_of(c.numerics))
      .set("task", c.data.task)
      .set("problems", c.problems)
      .set("solved", r.solved);
  json.set("samples", r.samples).set("correct", r.correct).set("kept", r.kept);
  json.set("sampled_tokens", r.sampled_tokens).set("seconds", r.seconds).set("key", key);
  return json;
}

TeacherResult from_json(const Json& json) {
  return {.samples = json.get_int("samples"),
          .correct = json.get_int("correct"),
          .kept = json.get_int("kept"),
          .solved = json.get_int("solved"),
          .sampled_tokens = json.get_int("sampled_tokens"),
          .seconds = json.get_number("seconds")};
}

MemoryEstimate memory_of(const TeacherConfig& config, const Model& loaded,
                         const std::vector<Request>& requests, ThreadPool& threads) {
  const ModelConfig& model = loaded.config();
  MemoryEstimate memory = used_model(model, config.numerics, activation_dtype(config.numerics));
  if (row_of(config.numerics).product == Product::q8act) memory.packed = loaded.weight_bytes(true);
  memory.program = program_bytes(memory);
  std::vector<int64_t> prompts;
  for (const Request& r : requests) prompts.push_back(std::ssize(r.prompt));
  add_sampling(memory, model, config.numerics, sampling_load(config.sampling, prompts), threads);
  return memory;
}

// A problem's samples -> those worth learning, best first, at most `keep`.
std::vector<Good> choose(const TeacherConfig& config, std::vector<Good> good) {
  std::erase_if(good, [&](const Good& g) {
    const auto tokens = static_cast<int64_t>(g.completion->tokens.size());
    return (config.filter_tokens > 0 && tokens > config.filter_tokens) ||
           (!config.repeats && has_repeats(g.text));
  });
  std::set<std::string> seen;
  std::erase_if(good, [&](const Good& g) { return !seen.insert(g.text).second; });
  if (config.shortest) {
    std::stable_sort(good.begin(), good.end(), [](const Good& a, const Good& b) {
      return a.completion->tokens.size() < b.completion->tokens.size();
    });
  }
  if (static_cast<int64_t>(good.size()) > config.keep) good.resize(static_cast<size_t>(config.keep));
  return good;
}

}  // namespace

TeacherConfig read_teacher_config(ConfigFile& file, const RunConfig& run) {
  TeacherConfig c;
  c.seed = run.seed;
  c.device = run.device;
  c.teacher = file.text("teacher");
  c.data = read_problem_data(file);
  c.prompt = read_prompt_format(file);
  c.problems = file.integer_or("data.problems", c.problems, 1, 1 << 22);
  if (!c.data.files.empty() && !file.has("data.problems")) c.problems = 0;
  c.sampling = read_sampling_settings(file, "rollout", c.sampling, {});
  c.numerics = read_sampling_numerics(file, "rollout.numerics", run.numerics);
  // The types of model/quantize_plan.h.
  c.quantize =
      file.choice_or("rollout.quantize", kAsTheyAre,
                     {kAsTheyAre, "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S",
                      "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K", "F16", "BF16", "F32"});
  if (c.quantize == kAsTheyAre) c.quantize.clear();
  try {
    check_device(c.numerics, c.device);
  } catch (const Error& e) {
    file.fail("rollout.numerics", fmt::format("is refused: {}", e.what()));
  }
  c.keep = file.integer_or("keep", c.keep, 1, c.sampling.samples);
  c.shortest = file.choice_or("filter.prefer", "first", {"first", "shortest"}) == "shortest";
  c.repeats = file.boolean_or("filter.repeats", c.repeats);
  c.filter_tokens = file.integer_or("filter.max_tokens", 0, 0, 1 << 24);
  return c;
}

struct Teacher::Impl {
  TeacherConfig config;
  fs::path summary, data;
  ThreadPool& threads;
  ModelBundle bundle;
  std::string key;
  std::optional<TeacherResult> before;  // it has answered already
  std::vector<Problem> problems;
  std::vector<std::string> notes;  // about the files of the problems
  std::vector<Request> requests;
  MemoryEstimate memory;
  std::string prompt_note;

  Impl(TeacherConfig c, const fs::path& out, ThreadPool& t)
      : config(std::move(c)),
        summary(out / "teacher.json"),
        data(out / "data.jsonl"),
        threads(t),
        bundle(ModelBundle::load(config.teacher, activation_dtype(config.numerics), WeightUse::inference,
                                 memory_of(config.device), config.quantize)) {}
  void check_context() const;
  void make_requests();
  std::vector<Completion> answer();
  TeacherResult keep_best(const std::vector<Completion>& completions);
};

void Teacher::Impl::check_context() const {
  const int64_t context = bundle.model.config().max_positions;
  if (config.sampling.max_tokens < context) return;
  throw Error(
      fmt::format("{}: as a teacher it has a context of {} tokens, rollout.max_tokens is {}: {} at most",
                  config.teacher, context, config.sampling.max_tokens, context - 1));
}

void Teacher::Impl::make_requests() {
  const ProblemSource source = open_problems(config.data, config.seed, bundle, config.prompt);
  notes = source.notes();
  const int64_t all = source.size();
  if (all > 0) config.problems = config.problems == 0 ? all : std::min(all, config.problems);
  for (int64_t i = 0; i < config.problems; ++i) problems.push_back(source.at(i));
  requests =
      ask(bundle, problems, config.sampling.request({.seed = config.seed, .step = kTeacherStep, .prompt = 0}),
          config.prompt);
}

std::vector<Completion> Teacher::Impl::answer() {
  Workspace work(threads, config.numerics, bundle.model.memory());
  Engine engine(bundle.model, work.ctx, config.sampling.engine());
  return engine.run(requests, {}, [&](const Completion&) {
    if (config.stop && config.stop())
      throw Stopped("stopped while the teacher answered: it will answer again");
  });
}

// Writes the data set.
TeacherResult Teacher::Impl::keep_best(const std::vector<Completion>& completions) {
  TeacherResult result;
  result.sampled_tokens = prompt_tokens(requests);
  JsonlWriter writer(data);
  for (size_t at = 0; at < completions.size(); at += static_cast<size_t>(config.sampling.samples)) {
    const Problem& problem = problems[static_cast<size_t>(completions[at].request)];
    const Verifier verifier(problem);
    std::vector<Good> good;
    for (const Completion& c :
         std::span(completions).subspan(at, static_cast<size_t>(config.sampling.samples))) {
      ++result.samples;
      result.sampled_tokens += static_cast<int64_t>(c.tokens.size());
      const bool ended = c.finish == FinishReason::stop;
      const std::string& opening = requests[static_cast<size_t>(c.request)].opening;
      if (!verify_answer(bundle.tokenizer, verifier, c.tokens, ended, opening).correct) continue;
      ++result.correct;
      const std::string text = bundle.tokenizer.decode(std::span(c.tokens).first(c.tokens.size() - 1));
      // An empty thought that the prompt contains is not the teacher's, so the student does not learn it.
      good.push_back({&c, opens_thought(opening) ? whole_response(text, opening) : text});
    }
    result.solved += good.empty() ? 0 : 1;
    for (const Good& g : choose(config, std::move(good))) {
      Json row = Json::object();
      row.set("question", problem.question).set("response", g.text).set("problem", g.completion->request);
      row.set("sample", g.completion->sample)
          .set("tokens", static_cast<int64_t>(g.completion->tokens.size()));
      writer.write(row);
      ++result.kept;
    }
  }
  writer.close();
  return result;
}

Teacher::Teacher(TeacherConfig config, fs::path out, ThreadPool& threads)
    : impl_(std::make_unique<Impl>(std::move(config), out, threads)) {
  Impl& t = *impl_;
  t.check_context();
  t.key = key_of(t.config, t.bundle.model.weights_sha256(), t.bundle.chat_template.text());
  std::error_code ec;
  if (fs::exists(t.summary, ec)) {
    const Json known = read_json(t.summary);
    if (known.get_string_or("key", "") != t.key) {
      throw Error(
          fmt::format("{}: is of another teacher, seed, task, [prompt], [rollout] or [filter] than this "
                      "configuration's: name "
                      "another out, or remove the folder",
                      t.summary.string()));
    }
    t.before = from_json(known);
  }
  if (t.before) return;
  t.prompt_note = check_prompt_format(t.bundle, t.config.prompt, t.config.teacher);
  t.make_requests();
  t.memory = memory_of(t.config, t.bundle.model, t.requests, threads);
  check_memory(t.memory, t.config.memory_limit, "the teacher", "rollout.batch or rollout.max_tokens",
               t.config.device);
}

Teacher::~Teacher() = default;
Teacher::Teacher(Teacher&&) noexcept = default;

TeacherResult Teacher::sample(Reporter& reporter) {
  Impl& t = *impl_;
  if (t.before) {
    reporter.note(t.data.string() + " is there already");
    return *t.before;
  }
  for (const std::string& line : t.bundle.model.warnings()) reporter.note(line);
  for (const std::string& line : t.notes) reporter.note(line);
  if (!t.prompt_note.empty()) reporter.note(t.prompt_note);
  const auto begin = std::chrono::steady_clock::now();
  reporter.note(memory_line(t.memory, "the teacher"));
  TeacherResult result = t.keep_best(t.answer());
  if (result.correct == 0) {
    throw Error(fmt::format(
        "{}: as a teacher it solved none of {} problems of {} ({} samples): there is nothing to learn from",
        t.config.teacher, t.config.problems, t.config.data.files.empty() ? t.config.data.task : "data.files",
        result.samples));
  }
  if (result.kept == 0) {
    throw Error(
        fmt::format("{}: none of {} correct samples is left after [filter]: loosen max_tokens or repeats",
                    t.data.string(), result.correct));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_file_atomically(t.summary, to_json(t.config, result, t.key).dump(2) + "\n");
  reporter.note(fmt::format("teacher: {} of {} problems solved, {} of {} samples correct, {} kept",
                            result.solved, t.config.problems, result.correct, result.samples, result.kept));
  return result;
}

}  // namespace r1
