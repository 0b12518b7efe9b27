#include "engine/ask.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"

namespace r1 {

std::vector<Request> ask(const ModelBundle& bundle, std::span<const Problem> problems,
                         const Request& settings, const PromptFormat& format) {
  std::vector<Request> requests(problems.size(), settings);
  for (size_t i = 0; i < problems.size(); ++i) {
    ChatPrompt prompt = make_prompt(bundle, format, problems[i].question);
    requests[i].prompt = std::move(prompt.tokens);
    requests[i].opening = std::move(prompt.opening);
    requests[i].key.prompt += static_cast<uint32_t>(i);
    requests[i].stop_tokens = bundle.stop_tokens;
  }
  return requests;
}

void check_room(const ModelBundle& bundle, const Problem& problem, const PromptFormat& format) {
  const auto tokens = static_cast<int64_t>(make_prompt(bundle, format, problem.question).tokens.size());
  const int64_t context = bundle.model.config().max_positions;
  if (tokens >= context) {
    throw Error(fmt::format(
        "the prompt has {} tokens, which leaves no room for an answer in the model's context of {}", tokens,
        context));
  }
}

std::vector<int64_t> prompt_lengths(const ModelBundle& bundle, std::span<const Problem> problems,
                                    const PromptFormat& format) {
  std::vector<int64_t> lengths;
  for (const Problem& p : problems)
    lengths.push_back(std::ssize(make_prompt(bundle, format, p.question).tokens));
  return lengths;
}

int64_t prompt_tokens(std::span<const Request> requests) {
  int64_t tokens = 0;
  for (const Request& r : requests) tokens += static_cast<int64_t>(r.prompt.size());
  return tokens;
}

}  // namespace r1
