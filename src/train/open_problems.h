// train/open_problems.h: opens the problems of a configuration's [data] that can be asked of a model.
#pragma once

#include "data/problem_source.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"

namespace r1 {

// Leaves out rows of files whose gold no verifier can read (if data.gold requires one) or whose prompt leaves
// no room for an answer. The source's notes name them. Throws as ProblemSource::open does.
ProblemSource open_problems(const ProblemData& data, uint64_t seed, const ModelBundle& bundle,
                            const PromptFormat& format);

}  // namespace r1
