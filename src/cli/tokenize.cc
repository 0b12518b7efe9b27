// cli/tokenize.cc: `r1 tokenize`: rows {"text"} -> {"tokens"}, or with --decode {"tokens"} -> {"text"}.
#include <fmt/format.h>

#include "cli/common.h"
#include "cli/output.h"
#include "cli/row_fields.h"
#include "text/gguf_tokenizer.h"

namespace r1 {
namespace {

Json encode_row(const Tokenizer& tokenizer, const TokenizeOptions& options, const Json& row) {
  check_row_fields(row, {"text", "id"});
  const std::string& text = row.get_string("text");
  const auto mode =
      options.split_special_tokens ? Tokenizer::Special::as_text : Tokenizer::Special::as_tokens;
  Json answer = Json::object();
  answer.set("tokens", Json::array_of(tokenizer.encode(text, options.add_special_tokens, mode)));
  return answer;
}

Json decode_row(const Tokenizer& tokenizer, const TokenizeOptions& options, const Json& row) {
  check_row_fields(row, {"tokens", "id"});
  const Json& list = row.at("tokens");
  const std::vector<int32_t> tokens = read_token_ids(list);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= tokenizer.vocab_size()) {
      list.at(i).fail(
          fmt::format("is {}; the vocabulary has the ids 0 to {}", tokens[i], tokenizer.vocab_size() - 1));
    }
  }
  Json answer = Json::object();
  answer.set("text", tokenizer.decode(tokens, options.skip_special_tokens));
  return answer;
}

}  // namespace

int run_tokenize(const TokenizeOptions& options) {
  check_common(options.common);
  std::error_code none;
  const bool is_file = std::filesystem::is_regular_file(options.model, none);
  const Tokenizer tokenizer =
      load_tokenizer(is_file ? std::filesystem::path(options.model) : resolve_model(options.model));
  show_warnings(tokenizer.warnings());
  return answer_rows(options.input, [&](const Json& row) {
    Json answer = options.decode ? decode_row(tokenizer, options, row) : encode_row(tokenizer, options, row);
    if (const auto id = row_id(row)) answer.set("id", *id);
    return answer;
  });
}

}  // namespace r1
