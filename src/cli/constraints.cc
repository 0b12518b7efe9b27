#include "cli/constraints.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "engine/grammar/pattern.h"
#include "text/think.h"

namespace r1 {

std::optional<Constraint> Constraints::of_flags(const GrammarFlags& flags) {
  if (flags.given() > 1) throw Error("give one of --grammar, --json-schema and --regex, not several");
  if (!flags.grammar.empty()) return of_gbnf(read_file(flags.grammar), flags.grammar);
  if (!flags.json_schema.empty()) return of_schema(read_json(flags.json_schema), flags.json_schema);
  if (!flags.regex.empty()) return of_regex(flags.regex, "--regex");
  return std::nullopt;
}

Constraint Constraints::of_gbnf(const std::string& text, const std::string& source) {
  const auto known = known_.find("g" + text);
  if (known != known_.end()) return {.masks = known->second};
  return remember("g" + text, Grammar::from_gbnf(text, source));
}

Constraint Constraints::of_regex(const std::string& pattern, const std::string& source) {
  const auto known = known_.find("r" + pattern);
  if (known != known_.end()) return {.masks = known->second};
  return remember("r" + pattern, Grammar::from_rules(whole_pattern_rules(pattern, source), source));
}

Constraint Constraints::of_schema(const Json& schema, const std::string& source) {
  const std::string text = "s" + schema.dump();
  const auto known = known_.find(text);
  if (known != known_.end()) return {.masks = known->second};
  return remember(text, Grammar::from_json_schema(schema, source));
}

Constraint Constraints::remember(const std::string& key, const std::shared_ptr<const Grammar>& grammar) {
  if (vocabulary_ == nullptr)
    vocabulary_ = TokenVocabulary::of(model_.tokenized().tokenizer, model_.model().config().vocab_size);
  return {.masks = known_[key] = std::make_shared<const TokenMasks>(grammar, vocabulary_)};
}

Constraint::Begin Constraints::begin_after(std::span<const int32_t> prompt) const {
  const std::string opening(thought_opening(model_.tokenized().tokenizer.decode(prompt)));
  return opens_thought(opening) ? Constraint::Begin::after_thought : Constraint::Begin::after_any_thought;
}

void add_grammar(Json& identity, const GrammarFlags& flags) {
  if (!flags.grammar.empty()) identity.set("--grammar", sha256_hex(read_file(flags.grammar)));
  if (!flags.json_schema.empty()) identity.set("--json-schema", sha256_hex(read_file(flags.json_schema)));
  if (!flags.regex.empty()) identity.set("--regex", flags.regex);
}

}  // namespace r1
