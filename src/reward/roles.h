// reward/roles.h: checking who is a knight and who a knave. Total: any bytes give a verdict.
//
//   answer = item { separators item } [separators]      item = NAME [: | = | - | is | is a] ROLE
//   separator = , | ; | . | line end | & | and
//
// Everybody once, in any order; names and words in any case; white space anywhere between.
#pragma once

#include <string_view>

#include "reward/verdict.h"

namespace r1 {

class Json;

// Gold {"Ann":"knight","Bob":"knave"}; Error where it is not of that shape. `why` is "ok", one of
// response.h's reasons, or the first that holds of: bad_roles (the text is no such answer), unknown_person,
// person_twice, person_missing, wrong_roles.
Verdict verify_roles(const Json& gold, std::string_view response);

}  // namespace r1
