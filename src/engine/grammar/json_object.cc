#include <string>

#include "engine/grammar/grammar.h"
#include "engine/grammar/json_grammar.h"

namespace r1 {

std::shared_ptr<const Grammar> Grammar::json_object() {
  return from_gbnf("root ::= object" + std::string(kJsonGrammar), "json_object");
}

}  // namespace r1
