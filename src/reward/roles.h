// reward/roles.h: the verifier of knights and knaves. Every byte string gets a verdict.
//
//   answer = item { separators item } [separators]      item = NAME [: | = | - | is | is a] ROLE
//   separator = , | ; | . | line end | & | and
//
// Each person appears once, in any order. Names and words may be in any case, with white space between them.
#pragma once

#include <string_view>

#include "reward/response.h"
#include "reward/verdict.h"

namespace r1 {

class Json;

// `gold` is {"Ann":"knight","Bob":"knave"}; throws Error if it has another shape. `why` is "ok", one of
// response.h's reasons, or the first that holds of: bad_roles (the text is not such an answer),
// unknown_person, person_twice, person_missing, wrong_roles.
AnswerJudge roles_judge(const Json& gold);

}  // namespace r1
