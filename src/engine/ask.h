// engine/ask.h: turns problems into requests. A model is asked in the same way in training, in teaching and
// in evaluation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/task.h"
#include "engine/engine.h"
#include "engine/model_bundle.h"
#include "engine/prompt_format.h"

namespace r1 {

// Returns one request per problem. Request i is `settings` with problem i's question in `format`, the model's
// stop tokens, and the random numbers of prompt settings.key.prompt + i.
std::vector<Request> ask(const ModelBundle& bundle, std::span<const Problem> problems,
                         const Request& settings, const PromptFormat& format = {});

// Throws Error if the problem's prompt leaves no room for an answer in the model's context.
void check_room(const ModelBundle& bundle, const Problem& problem, const PromptFormat& format = {});

// Returns the number of tokens of each problem's prompt.
std::vector<int64_t> prompt_lengths(const ModelBundle& bundle, std::span<const Problem> problems,
                                    const PromptFormat& format);

// Returns the tokens of all prompts. A prompt counts once, however many samples it has, because the engine
// runs it once.
int64_t prompt_tokens(std::span<const Request> requests);

}  // namespace r1
