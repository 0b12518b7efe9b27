// train/open_problems.h: the problems that a configuration's [data] names, as far as a model can be asked them.
#pragma once

#include "data/problem_source.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"

namespace r1 {

// Rows of files with a gold that no verifier reads (if data.gold requires one), or with a prompt that leaves no room for an answer, are left out; the
// source's notes name them. Throws as ProblemSource::open does.
ProblemSource open_problems(const ProblemData& data, uint64_t seed, const ModelBundle& bundle,
                            const PromptFormat& format);

}  // namespace r1
