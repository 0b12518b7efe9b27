// server/serving.h: what all requests to a server share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/model_bundle.h"
#include "server/answer_grammar.h"
#include "server/api_request.h"
#include "server/metrics.h"
#include "server/prompt_builder.h"
#include "server/quotas.h"
#include "text/think.h"

namespace r1 {

// Takes one line without a line end. Called from several threads at a time.
using LogLine = std::function<void(const std::string&)>;

struct Serving {
  Serving(const ModelBundle& model, std::string model_name, std::string numerics_name, int64_t context_tokens,
          LogLine log_line, const std::map<std::string, KeyQuota>& key_quotas = {})
      : bundle(model),
        builder(model),
        name(std::move(model_name)),
        numerics(std::move(numerics_name)),
        context(context_tokens),
        log(std::move(log_line)),
        open_thought(model.tokenizer.encode(kThinkOpen, false)),
        close_thought(model.tokenizer.encode(kThinkClose, false)),
        grammars(model.tokenizer, model.model.config().vocab_size),
        quotas(key_quotas) {}

  const ModelBundle& bundle;
  PromptBuilder builder;
  std::string name;  // of the model, as clients call it
  std::string numerics;
  int64_t context;  // tokens of prompt and answer together
  LogLine log;
  std::vector<int32_t> open_thought, close_thought;  // the tokens of <think> and </think>
  AnswerGrammars grammars;
  Quotas quotas;
  Metrics metrics;
  // Computes the pages of a conversation that has come to its answer, when there is nothing else to do.
  std::function<void(ApiRequest, std::string owner)> read_again = {};
};

// How a request is told apart in the log and in answers.
struct RequestInfo {
  std::string id;     // "chatcmpl-..."
  std::string route;  // "/v1/chat/completions"
  std::string owner;  // of its cached prefixes: a digest of its API key; "": no key
  Job::Clock::time_point arrival;
};

}  // namespace r1
