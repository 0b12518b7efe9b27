// recipe/report_changes.cc: the evaluations of a run, and the same problem before and after.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "formats/jsonl.h"
#include "recipe/report_data.h"
#include "text/think.h"

namespace r1 {
namespace {

constexpr size_t kMostText = 12000;                // bytes of an answer that are shown
constexpr int kTurnedRight = 3, kTurnedWrong = 1;  // examples of each

struct Answer {
  std::string question, text, why;
  bool correct = false;
  int64_t tokens = 0;
};
using Answers = std::map<int64_t, Answer>;  // by problem

// The first sample of each problem; a row of another shape is passed over.
Answers first_answers(const std::filesystem::path& path, Missing& missing) {
  Answers answers;
  int64_t bad = 0;
  JsonlReader reader(path);
  for (JsonlRow row; reader.next(row);) {
    try {
      if (!row.error.empty()) throw Error(row.error);
      if (row.value.get_int_or("sample", 0) != 0) continue;
      answers.emplace(row.value.get_int("problem"), Answer{.question = row.value.get_string("question"),
                                                           .text = row.value.get_string("text"),
                                                           .why = row.value.get_string_or("why", ""),
                                                           .correct = row.value.get_bool("correct"),
                                                           .tokens = row.value.get_int_or("tokens", 0)});
    } catch (const Error&) {
      ++bad;
    }
  }
  if (bad > 0)
    missing.push_back(fmt::format("{}: {} rows cannot be read and are left out", path.string(), bad));
  return answers;
}

// Cut between characters.
std::string shortened(const std::string& text) {
  if (text.size() <= kMostText) return text;
  size_t end = kMostText;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + fmt::format(" … ({} bytes more)", text.size() - end);
}

Json shown(const Answer& answer) {
  const ThinkSplit split = split_think(answer.text);
  Json json = Json::object();
  json.set("correct", answer.correct).set("why", answer.why).set("tokens", answer.tokens);
  json.set("thought", shortened(split.thought)).set("answer", shortened(split.answer));
  return json;
}

Json change_of(const Evaluation& before, const Evaluation& after, Missing& missing) {
  const Answers first = first_answers(before.samples, missing);
  const Answers last = first_answers(after.samples, missing);
  int64_t counts[2][2] = {};  // [right before][right after]
  int turned[2] = {};         // examples shown of those that became [wrong, right]
  Json examples = Json::array();
  for (const auto& [problem, then] : first) {
    const auto at = last.find(problem);
    if (at == last.end() || at->second.question != then.question) continue;
    const Answer& now = at->second;
    ++counts[then.correct ? 1 : 0][now.correct ? 1 : 0];
    const int most = now.correct ? kTurnedRight : kTurnedWrong;
    if (then.correct == now.correct || turned[now.correct ? 1 : 0]++ >= most) continue;
    examples.push_back(Json::object()
                           .set("question", shortened(then.question))
                           .set("before", shown(then))
                           .set("after", shown(now)));
  }
  Json json = Json::object();
  json.set("task", text_in(before.figures, "task")).set("before", before.name).set("after", after.name);
  json.set("stayed_wrong", counts[0][0]).set("turned_right", counts[0][1]);
  json.set("turned_wrong", counts[1][0]).set("stayed_right", counts[1][1]);
  return json.set("examples", std::move(examples));
}

bool is_evaluation(const Json& json) {
  const Json* pass = json.is_object() ? json.find("pass_at_1") : nullptr;
  return pass != nullptr && pass->is_number();
}

void gather(const std::string& name, const std::filesystem::path& directory, const Json& json, int depth,
            std::vector<Evaluation>& out) {
  constexpr int kDeepest = 3;
  if (is_evaluation(json)) {
    out.push_back({.name = name, .samples = directory / "samples.jsonl", .figures = json});
  } else if (json.is_object() && depth < kDeepest) {
    for (const auto& [key, value] : json.members())
      gather(name + "/" + key, directory, value, depth + 1, out);
  }
}

}  // namespace

std::string text_in(const Json& object, std::string_view key) {
  const Json* value = object.is_object() ? object.find(key) : nullptr;
  return value != nullptr && value->is_string() ? value->string() : "";
}

std::vector<Evaluation> find_evaluations(const std::string& stage, const std::filesystem::path& directory,
                                         const Json& result) {
  std::vector<Evaluation> out;
  gather(stage, directory, result, 0, out);
  return out;
}

Json find_changes(const std::vector<Evaluation>& evaluations, Missing& missing) {
  std::vector<std::pair<std::string, std::vector<const Evaluation*>>> tasks;  // in order of appearance
  for (const Evaluation& e : evaluations) {
    std::error_code ec;
    if (!std::filesystem::exists(e.samples, ec)) {
      missing.push_back(e.samples.string() + " is missing: its answers are not shown");
      continue;
    }
    const std::string name = text_in(e.figures, "task");
    const auto at = std::ranges::find(tasks, name, [](const auto& t) { return t.first; });
    if (at == tasks.end()) {
      tasks.push_back({name, {&e}});
    } else {
      at->second.push_back(&e);
    }
  }
  Json changes = Json::array();
  for (const auto& [name, list] : tasks) {
    for (size_t i = 1; i < list.size(); ++i) changes.push_back(change_of(*list.front(), *list[i], missing));
  }
  return changes;
}

}  // namespace r1
