#include "cli/score_rows.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/row_fields.h"

namespace r1 {
namespace {

void read_row(const Json& json, const ModelConfig& config, ScoreRow& row) {
  row.id = row_id(json);
  check_row_fields(json, {"tokens", "from", "id"});
  row.tokens = read_token_ids(json.at("tokens"));
  check_tokens(config, row.tokens, json.source());
  row.from = json.get_int_or("from", 1);
  if (row.from < 1 || row.from > row.size()) {
    json.at("from").fail(
        fmt::format("is {}; it must be between 1 and {} (nothing precedes token 0)", row.from, row.size()));
  }
}

}  // namespace

std::vector<ScoreRow> read_score_rows(JsonlReader& input, const ModelConfig& config) {
  std::vector<ScoreRow> rows;
  for (JsonlRow json; input.next(json);) {
    ScoreRow& row = rows.emplace_back(ScoreRow{.row = json.row, .error = json.error, .id = {}, .tokens = {}});
    check_row_count(std::ssize(rows));
    if (!row.error.empty()) continue;
    try {
      read_row(json.value, config, row);
    } catch (const Error& e) {
      row.error = e.what();
    }
  }
  return rows;
}

}  // namespace r1
