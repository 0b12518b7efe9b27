// recipe/report_samples.cc: the outcomes of an evaluation's samples.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "formats/jsonl.h"
#include "recipe/report_data.h"
#include "text/think.h"

namespace r1 {
namespace {

constexpr size_t kMostText = 12000;  // at most this many bytes of an answer are shown

struct Counts {
  int64_t samples = 0, right = 0, cut_off = 0, limit = 0;
  std::map<std::string, int64_t> wrong;

  void add(const Json& row, bool correct) {
    ++samples;
    if (correct) {
      ++right;
    } else if (text_in(row, "finish_reason") == "length") {
      ++cut_off;
      limit = std::max(limit, row.get_int_or("tokens", 0));
    } else {
      ++wrong[text_in(row, "finish_reason") == "loop" ? "loop" : text_in(row, "why")];
    }
  }
  Json json() const {
    if (samples == 0) return {};
    std::vector<std::pair<std::string, int64_t>> sorted(wrong.begin(), wrong.end());
    std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second > b.second; });
    Json list = Json::array();
    for (const auto& [why, count] : sorted)
      list.push_back(Json::object().set("why", why).set("count", count));
    Json out = Json::object();
    out.set("samples", samples).set("right", right).set("cut_off", cut_off).set("limit", limit);
    return out.set("wrong", std::move(list));
  }
};

}  // namespace

std::string shortened(const std::string& text) {
  if (text.size() <= kMostText) return text;
  size_t end = kMostText;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + fmt::format(" … ({} bytes more)", text.size() - end);
}

Samples read_samples(const std::filesystem::path& path, Missing& missing) {
  Samples out;
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) {
    missing.push_back(path.string() + " is missing: its answers are not shown");
    return out;
  }
  Counts counts;
  int64_t bad = 0;
  JsonlReader reader(path);
  for (JsonlRow row; reader.next(row);) {
    try {
      if (!row.error.empty()) throw Error(row.error);
      const bool correct = row.value.get_bool("correct");
      const ThinkSplit split =
          split_think(row.value.get_string("text"), row.value.get_bool_or("prompt_opened", false));
      const int64_t problem = row.value.get_int("problem");
      FirstAnswer answer{.question = shortened(row.value.get_string("question")),
                         .thought = shortened(split.thought),
                         .answer = shortened(split.answer),
                         .why = text_in(row.value, "why"),
                         .correct = correct,
                         .tokens = row.value.get_int_or("tokens", 0)};
      counts.add(row.value, correct);
      if (row.value.get_int_or("sample", 0) == 0) out.first.emplace(problem, std::move(answer));
    } catch (const Error&) {
      ++bad;
    }
  }
  if (bad > 0)
    missing.push_back(fmt::format("{}: {} rows cannot be read and are left out", path.string(), bad));
  out.outcomes = counts.json();
  return out;
}

}  // namespace r1
