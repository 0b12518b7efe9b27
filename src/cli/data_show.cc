// cli/data_show.cc: `r1 data show`: prints the first documents or prompts of a configuration as the model
// gets them. The tokens that are trained on are marked: in colour and underlined on a terminal, else between
// « and ».
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "recipe/preview.h"

namespace r1 {
namespace {

constexpr int64_t kMostShown = 10000;

struct Marks {
  std::string_view begin, end;
};

Marks marks_of_output() {
  const bool colour = stdout_is_terminal() && std::getenv("NO_COLOR") == nullptr;
  return colour ? Marks{"\x1b[4;32m", "\x1b[0m"} : Marks{"«", "»"};
}

// Returns the text of the tokens, including special tokens.
std::string marked_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  return printable(tokenizer.decode(tokens));
}

std::string block(const Tokenizer& tokenizer, const PreviewItem& item, const Marks& marks) {
  const std::span<const int32_t> tokens = item.tokens;
  std::string head = fmt::format("--- {}: {} tokens", printable(item.from), tokens.size());
  if (!item.trained.empty()) head += fmt::format(", {} of them trained on", count_tokens(item.trained));
  if (item.pieces > 1) head += fmt::format(", cut into {} pieces", item.pieces);
  if (!item.gold.empty()) head += ", answer " + printable(item.gold);
  const auto part = [&](int64_t begin, int64_t end) {
    return marked_text(tokenizer,
                       tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  };
  std::string text;
  int64_t at = 0;
  for (const TokenRange& range : item.trained) {
    text += part(at, range.begin);
    text.append(marks.begin).append(part(range.begin, range.end)).append(marks.end);
    at = range.end;
  }
  return head + "\n" + text + part(at, std::ssize(tokens)) + "\n\n";
}

Json json_of(const Tokenizer& tokenizer, const PreviewItem& item) {
  Json tokens = Json::array();
  const auto is_trained = [&](int64_t position) {
    return std::ranges::any_of(item.trained,
                               [&](const TokenRange& r) { return r.begin <= position && position < r.end; });
  };
  for (size_t i = 0; i < item.tokens.size(); ++i) {
    const int32_t id = item.tokens[i];
    tokens.push_back(Json::object()
                         .set("id", static_cast<int64_t>(id))
                         .set("text", tokenizer.decode({&id, 1}))
                         .set("special", tokenizer.is_special(id))
                         .set("trained", is_trained(static_cast<int64_t>(i))));
  }
  Json json = Json::object().set("from", item.from);
  if (!item.gold.empty()) json.set("gold", item.gold);
  if (item.pieces > 1) json.set("pieces", item.pieces);
  return json.set("tokens", std::move(tokens));
}

}  // namespace

int run_data_show(const DataShowOptions& options) {
  check_between("-n", options.count, 1, kMostShown);
  const std::string kind = options.kind.empty() ? kind_of_config(options.config, options.set) : options.kind;
  const Marks marks = marks_of_output();
  Json shown = Json::array(), notes = Json::array();
  preview(
      options.config, options.set, kind, options.count,
      [&](const Tokenizer& tokenizer, const PreviewItem& item) {
        if (options.common.json) {
          shown.push_back(json_of(tokenizer, item));
        } else {
          write_stdout(block(tokenizer, item, marks));
        }
      },
      [&](const std::string& line) {
        notes.push_back(line);
        if (!options.common.json) write_stderr(printable(line) + "\n");
      });
  if (options.common.json) {
    Json json = Json::object().set("kind", kind).set("shown", std::move(shown));
    write_stdout(json.set("notes", std::move(notes)).dump() + "\n");
  }
  return 0;
}

}  // namespace r1
