// recipe/report_rollouts.cc: the rollouts of some steps of a training stage, as texts.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "formats/jsonl.h"
#include "recipe/report_data.h"
#include "text/think.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

struct ShownRollout {
  std::string question, why;
  std::vector<int32_t> prompt, tokens;
  double reward = 0, advantage = 0;
  bool correct = false, cut_off = false;
};

struct Step {
  int64_t step = 0, samples = 0, right = 0, cut_off = 0;
  double reward = 0;                     // the sum over the samples
  std::vector<ShownRollout> group = {};  // the group that is shown
  bool settled = false;                  // the group is complete and its rewards differ
};

bool is_flat(const std::vector<ShownRollout>& group) {
  return std::ranges::all_of(group, [&](const ShownRollout& r) { return r.reward == group.front().reward; });
}

std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.items()) {
    const int64_t value = id.integer();
    if (value < 0 || value > INT32_MAX) id.fail("is not a token id");
    ids.push_back(static_cast<int32_t>(value));
  }
  return ids;
}

ShownRollout read_rollout(const Json& row) {
  return {.question = row.get_string("question"),
          .why = text_in(row, "why"),
          .prompt = ids_of(row.at("prompt_tokens")),
          .tokens = ids_of(row.at("tokens")),
          .reward = row.get_number("reward"),
          .advantage = row.get_number("advantage"),
          .correct = row.get_bool("correct"),
          .cut_off = text_in(row, "finish_reason") == "length"};
}

// Collects rows that come in order of (step, prompt, sample). It holds one group per step.
class Reader {
 public:
  void add(const Json& row) {
    const int64_t step = row.get_int("step"), prompt = row.get_int("prompt");
    ShownRollout rollout = read_rollout(row);
    if (steps_.empty() || steps_.back().step != step) {
      end_group();
      steps_.push_back({.step = step});
    } else if (prompt != prompt_) {
      end_group();
    }
    prompt_ = prompt;
    Step& s = steps_.back();
    ++s.samples;
    s.right += rollout.correct ? 1 : 0;
    s.cut_off += rollout.cut_off ? 1 : 0;
    s.reward += rollout.reward;
    if (!s.settled) group_.push_back(std::move(rollout));
  }
  std::vector<Step> steps() {
    end_group();
    return std::move(steps_);
  }

 private:
  void end_group() {
    if (group_.empty()) return;
    Step& s = steps_.back();
    const bool flat = is_flat(group_);
    if (s.group.empty() || !flat) s.group = std::move(group_);
    s.settled = !flat;
    group_.clear();
  }

  std::vector<Step> steps_;
  std::vector<ShownRollout> group_;  // of the current prompt
  int64_t prompt_ = -1;
};

std::optional<Tokenizer> find_tokenizer(const std::vector<fs::path>& models) {
  for (const fs::path& model : models) {
    std::error_code ec;
    if (!fs::exists(model / "tokenizer.json", ec) && !has_tiktoken_file(model)) continue;
    try {
      return Tokenizer::load(model);
    } catch (const Error&) {  // the next model's tokenizer may be whole
    }
  }
  return std::nullopt;
}

Json shown(const ShownRollout& rollout, const std::optional<Tokenizer>& tokenizer) {
  Json json = Json::object();
  json.set("correct", rollout.correct).set("why", rollout.why).set("reward", rollout.reward);
  json.set("advantage", rollout.advantage).set("tokens", static_cast<int64_t>(rollout.tokens.size()));
  if (!tokenizer) return json;
  const bool opened = !thought_opening(tokenizer->decode(rollout.prompt)).empty();
  const ThinkSplit split = split_think(response_text(*tokenizer, rollout.tokens), opened);
  return json.set("thought", shortened(split.thought)).set("answer", shortened(split.answer));
}

Json to_json(const Step& s, const std::optional<Tokenizer>& tokenizer) {
  Json group = Json::array();
  for (const ShownRollout& r : s.group) {
    Json one = Json::object().set("correct", r.correct).set("cut_off", r.cut_off).set("reward", r.reward);
    group.push_back(one.set("advantage", r.advantage).set("tokens", static_cast<int64_t>(r.tokens.size())));
  }
  Json json = Json::object().set("step", s.step).set("samples", s.samples).set("right", s.right);
  json.set("cut_off", s.cut_off).set("reward", s.reward / static_cast<double>(s.samples));
  json.set("question", shortened(s.group.front().question)).set("group", std::move(group));
  const auto by_advantage = [](const ShownRollout& a, const ShownRollout& b) {
    return a.advantage < b.advantage;
  };
  json.set("best", shown(*std::ranges::max_element(s.group, by_advantage), tokenizer));
  if (s.settled) json.set("worst", shown(*std::ranges::min_element(s.group, by_advantage), tokenizer));
  return json;
}

}  // namespace

Json training_rollouts(const fs::path& samples, const std::vector<fs::path>& models, Missing& missing) {
  Json out = Json::array();
  Reader all;
  int64_t bad = 0;
  JsonlReader reader(samples);
  for (JsonlRow row; reader.next(row);) {
    try {
      if (!row.error.empty()) throw Error(row.error);
      all.add(row.value);
    } catch (const Error&) {
      ++bad;
    }
  }
  if (bad > 0)
    missing.push_back(fmt::format("{}: {} rows cannot be read and are left out", samples.string(), bad));
  const std::vector<Step> steps = all.steps();
  if (steps.empty()) return out;
  const std::optional<Tokenizer> tokenizer = find_tokenizer(models);
  if (!tokenizer)
    missing.push_back(samples.string() + ": no tokenizer was found, so that its rollouts have no texts here");
  // Takes steps at even distances, including the first and the last.
  const size_t count = std::min(steps.size(), kMostSteps);
  for (size_t i = 0; i < count; ++i)
    out.push_back(to_json(steps[count == 1 ? 0 : i * (steps.size() - 1) / (count - 1)], tokenizer));
  return out;
}

}  // namespace r1
