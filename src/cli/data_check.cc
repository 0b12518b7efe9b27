// cli/data_check.cc: `r1 data check`: reports what data files hold, before anything is trained on them.
#include "reward/data_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"

namespace r1 {
namespace {

std::string named_lines(const RowGroup& group) {
  const bool all = group.rows == std::ssize(group.lines);
  return fmt::format("{} {}",
                     group.rows == 1 ? "line"
                     : all           ? "lines"
                                     : "first lines",
                     fmt::join(group.lines, ", "));
}

std::string check_entry(std::string_view name, const std::string& text) {
  return fmt::format("  {:<12}{}\n", name, text);
}

std::string reason_lines(const std::vector<RowGroup>& groups) {
  std::string out;
  for (const RowGroup& group : groups)
    out += fmt::format("    {:>8}  {} ({})\n", group.rows, group.what, named_lines(group));
  return out;
}

int64_t rows_in(const std::vector<RowGroup>& groups) {
  int64_t rows = 0;
  for (const RowGroup& group : groups) rows += group.rows;
  return rows;
}

std::string length_lines(std::string_view unit, const std::map<std::string, Lengths>& all) {
  std::string out;
  for (const auto& [name, l] : all) {
    out += check_entry(unit, fmt::format("{}: median {}, 95 % up to {}, longest {}, shortest {}", name,
                                         l.median, l.most, l.longest, l.shortest));
    unit = "";
  }
  return out;
}

std::string check_table(const FileCheck& check, const std::vector<std::string>& against) {
  std::string formats;
  for (const auto& [name, rows] : check.formats)
    formats += fmt::format("{}{} ({})", formats.empty() ? "" : ", ", name, rows);
  std::string out = check.path + "\n";
  out += check_entry("rows", fmt::format("{}, of which {} are read", check.rows, check.read()));
  if (!formats.empty()) out += check_entry("format", formats);
  if (!check.dropped.empty())
    out += check_entry("dropped", fmt::format("{}", rows_in(check.dropped))) + reason_lines(check.dropped);
  if (check.read() > 0) {
    out += check_entry("problems", fmt::format("{} rows have an answer that can be checked", check.problems));
    out += reason_lines(check.not_judged);
  }
  out += length_lines("characters", check.characters) + length_lines("tokens", check.tokens);
  const auto repeated = [&](const RowGroup& group, const char* what) {
    return group.rows == 0 ? "" : fmt::format("{} of the rows {} ({})", group.rows, what, named_lines(group));
  };
  const std::string same = repeated(check.duplicates, "repeat an earlier row");
  out += check_entry("duplicates", same.empty() ? "none" : same);
  const std::string other = repeated(check.conflicts, "ask an earlier question and give another answer");
  if (!other.empty()) out += check_entry("conflicts", other);
  for (size_t i = 0; i < against.size(); ++i) {
    const RowGroup& group = check.overlap[i];
    std::string text = against[i] + ": none";
    if (group.rows > 0) {
      text = fmt::format("{}: {} of the rows share {} words in a row ({}), for example: {}", against[i],
                         group.rows, OverlapIndex::kWords, named_lines(group), group.what);
    }
    out += check_entry(i == 0 ? "overlap" : "", text);
  }
  return out;
}

}  // namespace

int run_data_check(const DataCheckOptions& options) {
  std::optional<Tokenizer> tokenizer;
  DataCheck::Options settings{.mapping = RecordMapping(options.question, options.answer, ""),
                              .against = options.against,
                              .count_tokens = {}};
  if (!options.model.empty()) {
    tokenizer = load_tokenizer(resolve_model(options.model));
    settings.count_tokens = [&](std::string_view text) {
      return std::ssize(tokenizer->encode(std::string(text), false));
    };
  }
  DataCheck check(std::move(settings));
  Json files = Json::array();
  std::string text;
  int status = 0;
  for (const std::string& path : options.files) {
    try {
      const FileCheck file = check.check(path);
      options.common.json ? (void)files.push_back(to_json(file, options.against))
                          : write_stdout(check_table(file, options.against));
    } catch (const Error& error) {
      status = 2;
      if (options.common.json) files.push_back(Json::object().set("file", path).set("error", error.what()));
      write_stderr(fmt::format("r1: {}\n", error.what()));
    }
  }
  if (options.common.json) write_stdout(Json::object().set("files", std::move(files)).dump() + "\n");
  return status;
}

}  // namespace r1
