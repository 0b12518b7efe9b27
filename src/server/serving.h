// server/serving.h: what all requests to a server share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/model_bundle.h"
#include "server/metrics.h"
#include "server/prompt_builder.h"
#include "text/think.h"

namespace r1 {

// Takes one line without a line end. Called from several threads at a time.
using LogLine = std::function<void(const std::string&)>;

struct Serving {
  Serving(const ModelBundle& model, std::string model_name, std::string numerics_name, int64_t context_tokens,
          LogLine log_line)
      : bundle(model),
        builder(model),
        name(std::move(model_name)),
        numerics(std::move(numerics_name)),
        context(context_tokens),
        log(std::move(log_line)),
        close_thought(model.tokenizer.encode(kThinkClose, false)) {}

  const ModelBundle& bundle;
  PromptBuilder builder;
  std::string name;  // of the model, as clients call it
  std::string numerics;
  int64_t context;  // tokens of prompt and answer together
  LogLine log;
  std::vector<int32_t> close_thought;  // the tokens of </think>
  Metrics metrics;
};

// How a request is told apart in the log and in answers.
struct RequestInfo {
  std::string id;     // "chatcmpl-..."
  std::string route;  // "/v1/chat/completions"
  std::string owner;  // of its cached prefixes: a digest of its API key; "": no key
  Job::Clock::time_point arrival;
};

}  // namespace r1
