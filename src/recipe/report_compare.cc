// recipe/report_compare.cc: finds the evaluations of a run and pairs those that can be compared.
#include <algorithm>
#include <optional>
#include <set>

#include "recipe/report_data.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

constexpr int kTurnedRight = 3, kTurnedWrong = 1;  // the number of examples shown of each

Json shown(const FirstAnswer& answer) {
  Json json = Json::object();
  json.set("correct", answer.correct).set("why", answer.why).set("tokens", answer.tokens);
  return json.set("thought", answer.thought).set("answer", answer.answer);
}

void add_changes(const Samples& before, const Samples& after, bool with_examples, Json& json) {
  int64_t counts[2][2] = {};  // [right before][right after]
  int turned[2] = {};         // examples shown of those that became [wrong, right]
  Json examples = Json::array();
  for (const auto& [problem, then] : before.first) {
    const auto at = after.first.find(problem);
    if (at == after.first.end() || at->second.question != then.question) continue;
    const FirstAnswer& now = at->second;
    ++counts[then.correct ? 1 : 0][now.correct ? 1 : 0];
    const int most = now.correct ? kTurnedRight : kTurnedWrong;
    if (!with_examples || then.correct == now.correct || turned[now.correct ? 1 : 0]++ >= most) continue;
    examples.push_back(
        Json::object().set("question", then.question).set("before", shown(then)).set("after", shown(now)));
  }
  json.set("stayed_wrong", counts[0][0]).set("turned_right", counts[0][1]);
  json.set("turned_wrong", counts[1][0]).set("stayed_right", counts[1][1]);
  json.set("examples", std::move(examples));
}

bool is_evaluation(const Json& json) {
  const Json* pass = json.is_object() ? json.find("pass_at_1") : nullptr;
  return pass != nullptr && pass->is_number();
}

void gather(const std::string& name, const fs::path& directory, const Json& json, int depth,
            std::vector<Evaluation>& out) {
  constexpr int kDeepest = 3;
  if (is_evaluation(json)) {
    out.push_back({.name = name, .samples = directory / "samples.jsonl", .figures = json});
  } else if (json.is_object() && depth < kDeepest) {
    for (const auto& [key, value] : json.members())
      gather(name + "/" + key, directory, value, depth + 1, out);
  }
}

// Returns a key that is equal for equal models: "@STAGE" for OUT/STAGE/model, wherever OUT has been moved.
std::string model_key(const std::string& path, const std::set<std::string>& stages) {
  if (path.empty()) return "";
  fs::path normal = fs::path(path).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();  // removes a trailing slash
  const std::string stage = normal.parent_path().filename().string();
  return normal.filename() == "model" && stages.contains(stage) ? "@" + stage : normal.string();
}

// A setting names a model as its file does (a shipped name, or a path from the file's folder); a figure names
// it by the path that was opened. They are the same model if one path ends with the other.
bool same_model(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty()) return false;
  const auto tail = [](const std::string& path) {
    std::string_view rest = path;
    while (rest.starts_with("../")) rest.remove_prefix(3);
    return std::string(rest);
  };
  const std::string x = tail(a), y = tail(b);
  return x == y ||
         (!x.starts_with('@') && !y.starts_with('@') && (x.ends_with("/" + y) || y.ends_with("/" + x)));
}

int64_t count_in(const Json& figures, std::string_view key) {
  const Json* value = figures.find(key);
  return value != nullptr && value->is_integer() ? value->integer() : -1;
}

bool same_exam(const Json& a, const Json& b) {
  return text_in(a, "task") == text_in(b, "task") && count_in(a, "problems") == count_in(b, "problems") &&
         count_in(a, "samples") == count_in(b, "samples");
}

class Comparer {
 public:
  Comparer(const std::vector<Origin>& origins, const std::vector<Evaluation>& evaluations,
           const std::vector<Samples>& samples)
      : origins_(origins), evaluations_(evaluations), samples_(samples) {
    for (const Origin& o : origins) stages_.insert(o.stage);
    for (const Evaluation& e : evaluations)
      models_.push_back(model_key(text_in(e.figures, "model"), stages_));
  }

  Json all() {
    for (const Origin& o : origins_) {
      against(o, "training", o.base);
      against(o, "teacher", o.teacher);
    }
    for (size_t i = 0; i < origins_.size(); ++i) {
      for (size_t j = i + 1; j < origins_.size(); ++j) {
        const Origin &a = origins_[i], &b = origins_[j];
        if (same_model(model_key(a.base, stages_), model_key(b.base, stages_))) {
          add("method", b, "@" + a.stage, "@" + b.stage);
        }
      }
    }
    return std::move(out_);
  }

 private:
  void against(const Origin& origin, const char* what, const std::string& model) {
    if (!model.empty()) add(what, origin, model_key(model, stages_), "@" + origin.stage);
  }

  // Pairs each evaluation of `after` with the first evaluation of the same kind that `before` has.
  void add(const char* what, const Origin& origin, const std::string& before, const std::string& after) {
    if (same_model(before, after)) return;
    for (size_t j = 0; j < evaluations_.size(); ++j) {
      if (models_[j] != after) continue;
      for (size_t i = 0; i < evaluations_.size(); ++i) {
        if (!same_model(models_[i], before) || !same_exam(evaluations_[i].figures, evaluations_[j].figures))
          continue;
        Json json = Json::object().set("what", what).set("stage", origin.stage).set("kind", origin.kind);
        json.set("task", text_in(evaluations_[i].figures, "task"));
        json.set("before", evaluations_[i].name).set("after", evaluations_[j].name);
        add_changes(samples_[i], samples_[j], std::string_view(what) != "method", json);
        out_.push_back(std::move(json));
        break;
      }
    }
  }

  const std::vector<Origin>& origins_;
  const std::vector<Evaluation>& evaluations_;
  const std::vector<Samples>& samples_;
  std::set<std::string> stages_;
  std::vector<std::string> models_;  // the model_key of each evaluation
  Json out_ = Json::array();
};

}  // namespace

std::string text_in(const Json& object, std::string_view key) {
  const Json* value = object.is_object() ? object.find(key) : nullptr;
  return value != nullptr && value->is_string() ? value->string() : "";
}

std::string model_label(const std::string& path) {
  fs::path normal = fs::path(path).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  if (normal.filename() == "model" && normal.has_parent_path()) normal = normal.parent_path();
  return normal.filename().string();
}

std::vector<Evaluation> find_evaluations(const std::string& stage, const fs::path& directory,
                                         const Json& result) {
  std::vector<Evaluation> out;
  gather(stage, directory, result, 0, out);
  return out;
}

Json compare(const std::vector<Origin>& origins, const std::vector<Evaluation>& evaluations,
             const std::vector<Samples>& samples) {
  return Comparer(origins, evaluations, samples).all();
}

}  // namespace r1
