// reward/problem_file.h: problems from files, each with a gold that its task's verifier can read.
#pragma once

#include "data/problem_file.h"

namespace r1 {

// The check of data/problem_file.h: throws Error if the verifier of the problem's task cannot read its gold.
void check_gold(const Problem& problem, const Json& gold);

// Reads a file (data/problem_file.h says which) for an evaluation; rows that cannot be read are only listed
// in `refused`. Throws Error for a file that cannot be read and, with the first row's reason, if no row can.
// If gold is optional, golds are not looked at.
ProblemFile read_problems(const std::filesystem::path& path, const RecordMapping& mapping = {},
                          GoldIs gold = GoldIs::required);

}  // namespace r1
