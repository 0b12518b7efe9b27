// cli/constraints.h: grammars, JSON Schemas and regular expressions that answers follow, from options and from rows.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cli/common.h"
#include "engine/grammar/constraint.h"

namespace r1 {

// The grammars of one model. Equal texts are compiled once.
class Constraints {
 public:
  explicit Constraints(const SamplingModel& model) : model_(model) {}

  // Returns the constraint of --grammar, --json-schema or --regex; nothing if none is given. Throws Error.
  std::optional<Constraint> of_flags(const GrammarFlags& flags);
  // Return the constraint of a text. `source` names it in errors.
  Constraint of_gbnf(const std::string& text, const std::string& source);
  Constraint of_schema(const Json& schema, const std::string& source);
  Constraint of_regex(const std::string& pattern, const std::string& source);

  // Where the grammar begins: behind the thought that the prompt opens, or else behind one that the answer
  // begins with.
  Constraint::Begin begin_after(std::span<const int32_t> prompt) const;

 private:
  Constraint remember(const std::string& key, const std::shared_ptr<const Grammar>& grammar);

  const SamplingModel& model_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;
  std::map<std::string, std::shared_ptr<const TokenMasks>> known_;
};

// Adds the SHA-256 of the option's file, or the expression, for job_identity.
void add_grammar(Json& identity, const GrammarFlags& flags);

}  // namespace r1
