// cli/tokenize.cc: `r1 tokenize`: rows {"text"} -> {"tokens"}, or with --decode {"tokens"} -> {"text"}.
#include "cli/common.h"
#include "cli/output.h"

namespace r1 {

int run_tokenize(const TokenizeOptions& options) {
  check_common(options.common);
  std::error_code none;
  const bool is_file = std::filesystem::is_regular_file(options.model, none);
  const Tokenizer tokenizer =
      Tokenizer::load(is_file ? std::filesystem::path(options.model) : resolve_model(options.model));
  return answer_rows(options.input, [&](const Json& row) {
    Json out = Json::object();
    if (options.decode) {
      out.set("text", tokenizer.decode(read_token_ids(row.at("tokens"))));
    } else {
      out.set("tokens", Json::array_of(tokenizer.encode(row.get_string("text"), false)));
    }
    return out;
  });
}

}  // namespace r1
