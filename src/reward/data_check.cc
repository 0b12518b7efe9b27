#include "reward/data_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "formats/jsonl.h"
#include "formats/shown.h"
#include "reward/problem_file.h"

namespace r1 {
namespace {

constexpr size_t kMostReasons = 20;

// Replaces numbers by #, so that reasons that differ only in numbers are equal.
std::string without_numbers(std::string_view reason) {
  std::string out;
  for (const char c : reason) {
    const bool is_digit = c >= '0' && c <= '9';
    if (is_digit && out.ends_with('#')) continue;
    out += is_digit ? '#' : c;
  }
  return out;
}

// Groups rows that were left out by reason.
class Reasons {
 public:
  void add(std::string_view error, const std::string& where, int64_t line) {
    std::string reason(error);
    if (reason.starts_with(where + ": ")) reason = reason.substr(where.size() + 2);
    const std::string key = without_numbers(reason);
    const auto [known, is_new] = places_.try_emplace(key, groups_.size());
    if (is_new && groups_.size() >= kMostReasons) known->second = kMostReasons;
    if (known->second == groups_.size())
      groups_.push_back(
          {.what = groups_.size() < kMostReasons ? reason : "further reasons", .rows = 0, .lines = {}});
    groups_[known->second].add(line);
  }
  std::vector<RowGroup> take() { return std::move(groups_); }

 private:
  std::map<std::string, size_t> places_;
  std::vector<RowGroup> groups_;
};

int64_t characters_of(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; });
}

std::string conversation_text(const Json& messages) {
  std::string out;
  if (!messages.is_array()) return out;
  for (const Json& message : messages.items()) {
    const Json* content = message.find("content");
    if (content == nullptr) continue;
    if (content->is_string()) out += content->string() + "\n";
    if (!content->is_array()) continue;
    for (const Json& part : content->items()) {
      const Json* text = part.is_object() ? part.find("text") : nullptr;
      if (text != nullptr && text->is_string()) out += text->string() + "\n";
    }
  }
  return out;
}

// Returns the texts of a row by part. A conversation replaces its question and answer.
std::vector<std::pair<const char*, std::string>> parts_of(const Record& record) {
  if (record.messages.is_array()) return {{"conversation", conversation_text(record.messages)}};
  if (!record.text.empty()) return {{"text", record.text}};
  return {{"question", record.question}, {"answer", record.answer}};
}

Lengths summary_of(std::vector<uint32_t> lengths) {
  std::ranges::sort(lengths);
  const auto share = [&](size_t of_100) {
    return static_cast<int64_t>(lengths[(lengths.size() - 1) * of_100 / 100]);
  };
  return {.rows = std::ssize(lengths),
          .shortest = share(0),
          .median = share(50),
          .most = share(95),
          .longest = share(100)};
}

void collect_strings(const Json& json, std::vector<std::string>& texts) {
  if (json.is_string()) texts.push_back(json.string());
  if (json.is_array()) {
    for (const Json& item : json.items()) collect_strings(item, texts);
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.members()) collect_strings(value, texts);
  }
}

// Returns the texts of an evaluation's row: the parts of a record, or all strings of a row in no known
// format.
std::vector<std::string> evaluation_texts(const Json& row) {
  std::vector<std::string> texts;
  try {
    for (auto& [name, text] : parts_of(read_record(row))) texts.push_back(std::move(text));
  } catch (const Error&) {
    collect_strings(row, texts);
  }
  return texts;
}

Json json_of(const std::vector<RowGroup>& groups) {
  Json list = Json::array();
  for (const RowGroup& g : groups)
    list.push_back(
        Json::object().set("reason", g.what).set("rows", g.rows).set("first_lines", Json::array_of(g.lines)));
  return list;
}

Json json_of(const std::map<std::string, Lengths>& all) {
  Json json = Json::object();
  for (const auto& [name, l] : all) {
    json.set(name, Json::object()
                       .set("rows", l.rows)
                       .set("shortest", l.shortest)
                       .set("median", l.median)
                       .set("percentile_95", l.most)
                       .set("longest", l.longest));
  }
  return json;
}

}  // namespace

int64_t FileCheck::read() const {
  int64_t sum = 0;
  for (const auto& [name, count] : formats) sum += count;
  return sum;
}

DataCheck::DataCheck(Options options) : options_(std::move(options)) {
  for (size_t i = 0; i < options_.against.size(); ++i) {
    JsonlReader reader(options_.against[i]);
    int64_t rows = 0;
    for (JsonlRow row; reader.next(row);) {
      if (!row.error.empty()) throw Error(row.error);
      ++rows;
      for (const std::string& text : evaluation_texts(row.value)) index_.add(text, static_cast<uint32_t>(i));
    }
    if (rows == 0) throw Error(options_.against[i] + ": has no rows to compare with");
  }
}

void DataCheck::compare(const Record& record, int64_t line, FileCheck& out) {
  const std::hash<std::string_view> hash;
  std::string said;
  for (const auto& [name, text] : parts_of(record)) said += text + "\n";
  const bool has_question = !record.question.empty() && !record.messages.is_array();
  // A question is the key and its final answer the value. Documents and conversations are keyed by the whole
  // text.
  const std::string final_answer = has_question && !record.gold.is_null() ? record.gold.dump() : "";
  const uint64_t key = hash(has_question ? record.question : said);
  const uint64_t answer = hash(final_answer);
  const auto [known, is_new] = seen_.try_emplace(key, answer);
  if (!is_new) (known->second == answer ? out.duplicates : out.conflicts).add(line);
  if (index_.empty()) return;
  if (const auto match = index_.find(said)) {
    RowGroup& group = out.overlap[match->source];
    if (group.rows == 0) group.what = shown(match->words);
    group.add(line);
  }
}

FileCheck DataCheck::check(const std::filesystem::path& path) {
  FileCheck out;
  out.path = path.string();
  out.overlap.resize(options_.against.size());
  Reasons dropped, not_judged;
  std::map<std::string, std::vector<uint32_t>> characters, tokens;
  JsonlReader reader(path);
  for (JsonlRow row; reader.next(row);) {
    ++out.rows;
    const std::string where = fmt::format("{}:{}", out.path, row.line);
    Record record;
    std::string error = row.error;
    if (error.empty())
      error = error_in_row(where, [&] { record = read_record(row.value, options_.mapping); });
    if (!error.empty()) {
      dropped.add(error, where, row.line);
      continue;
    }
    ++out.formats[record.format];
    error = error_in_row(where, [&] { check_gold(problem_of(record), record.gold); });
    if (error.empty()) {
      ++out.problems;
    } else {
      not_judged.add(error, where, row.line);
    }
    for (const auto& [name, text] : parts_of(record)) {
      if (text.empty()) continue;
      characters[name].push_back(static_cast<uint32_t>(characters_of(text)));
      if (options_.count_tokens) tokens[name].push_back(static_cast<uint32_t>(options_.count_tokens(text)));
    }
    compare(record, row.line, out);
  }
  out.dropped = dropped.take();
  out.not_judged = not_judged.take();
  for (auto& [name, lengths] : characters) out.characters[name] = summary_of(std::move(lengths));
  for (auto& [name, lengths] : tokens) out.tokens[name] = summary_of(std::move(lengths));
  return out;
}

Json to_json(const FileCheck& check, const std::vector<std::string>& against) {
  Json formats = Json::object();
  for (const auto& [name, rows] : check.formats) formats.set(name, rows);
  Json json = Json::object();
  json.set("file", check.path).set("rows", check.rows).set("read", check.read());
  json.set("formats", std::move(formats)).set("dropped", json_of(check.dropped));
  json.set("problems", check.problems).set("not_judged", json_of(check.not_judged));
  json.set("characters", json_of(check.characters));
  if (!check.tokens.empty()) json.set("tokens", json_of(check.tokens));
  const auto lines = [](const RowGroup& g) {
    return Json::object().set("rows", g.rows).set("first_lines", Json::array_of(g.lines));
  };
  json.set("duplicates", lines(check.duplicates)).set("conflicts", lines(check.conflicts));
  if (against.empty()) return json;
  Json overlap = Json::array();
  for (size_t i = 0; i < against.size(); ++i) {
    Json entry = Json::object().set("file", against[i]).set("rows", check.overlap[i].rows);
    entry.set("first_lines", Json::array_of(check.overlap[i].lines))
        .set("first_words", check.overlap[i].what);
    overlap.push_back(std::move(entry));
  }
  return json.set("overlap", std::move(overlap));
}

}  // namespace r1
