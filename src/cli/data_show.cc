// cli/data_show.cc: `r1 data show`: prints the first documents or prompts of a configuration as the model
// gets them. The tokens that are trained on are marked: in colour and underlined on a terminal, else between
// « and ».
#include <fmt/format.h>

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
  const auto size = std::ssize(item.tokens);
  std::string head = fmt::format("--- {}: {} tokens", printable(item.from), size);
  if (item.learnt_from < size) head += fmt::format(", {} of them trained on", size - item.learnt_from);
  if (item.pieces > 1) head += fmt::format(", cut into {} pieces", item.pieces);
  if (!item.gold.empty()) head += ", answer " + printable(item.gold);
  const auto split = static_cast<size_t>(item.learnt_from);
  const std::span<const int32_t> tokens = item.tokens;
  std::string text = marked_text(tokenizer, tokens.first(split));
  if (item.learnt_from < size) {
    text.append(marks.begin);
    text += marked_text(tokenizer, tokens.subspan(split));
    text.append(marks.end);
  }
  return head + "\n" + text + "\n\n";
}

Json json_of(const Tokenizer& tokenizer, const PreviewItem& item) {
  Json tokens = Json::array();
  for (size_t i = 0; i < item.tokens.size(); ++i) {
    const int32_t id = item.tokens[i];
    tokens.push_back(Json::object()
                         .set("id", static_cast<int64_t>(id))
                         .set("text", tokenizer.decode({&id, 1}))
                         .set("special", tokenizer.is_special(id))
                         .set("trained", static_cast<int64_t>(i) >= item.learnt_from));
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
