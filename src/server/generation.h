// server/generation.h: a request for completions from its prompts to its answer.
//
// The engine's thread feeds it tokens. It hands parts to the writer as soon as text is certain, or whole answers
// at the end; it ends samples at stop strings and closes thoughts that reach their limit.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answer_grammar.h"
#include "server/answer_stream.h"
#include "server/answer_writer.h"
#include "server/api_request.h"
#include "server/engine_loop.h"
#include "server/http_server.h"
#include "server/response_json.h"
#include "server/serving.h"

namespace r1 {

class Generation final : public Job {
 public:
  // Builds prompts and requests. `grammar` is that of the answers, if the request demands a form of them.
  // Throws Error; ApiError with the numbers for a prompt that is too long, and for a limit that no answer of
  // that form can keep. `serving` outlives this object.
  Generation(ApiRequest request, RequestInfo info, std::shared_ptr<HttpReply> reply, Serving& serving,
             AnswerGrammars::Shared grammar = {});
  ~Generation() override;

  void started() override;
  Action token(size_t request, Events::Token& token) override;
  void ended(size_t request, const Completion& completion) override;
  void finished() override;
  void late() override;
  void failed(const ApiError& why) override;
  void cancelled() override;

 private:
  struct Choice;
  struct Prompt {
    BuiltPrompt built;
    AnswerRules rules = {};
    int64_t limit = 0;  // tokens of an answer
    bool limited_by_context = false;
    bool only_prompt = false;  // nothing is to be generated
    int64_t cached = 0;
  };

  void add_prompt(BuiltPrompt built);
  int64_t answer_tokens(const BuiltPrompt& built) const;
  void check_room(const Prompt& prompt) const;
  void make_writer();
  Request engine_request(const Prompt& prompt, size_t index) const;
  Choice& choice_at(size_t request, int64_t sample);
  const Prompt& prompt_of(const Choice& choice) const;
  void write_delta(Choice& choice, AnswerStream::Delta delta);
  void write_part(Choice& choice, ChoiceText text);
  void add_prompt_logprobs(ChoiceText& whole, const Prompt& prompt, const Completion& completion) const;
  Finish finish_of(const Choice& choice, const Prompt& prompt, const Completion& completion) const;
  Finish plain_finish(const Prompt& prompt, const Completion& completion) const;
  Finish with_form(Finish finish, const Choice& choice, bool complete) const;
  bool is_whole(const Choice& choice) const;
  void complete(Choice& choice, Finish finish);
  TokenUsage usage() const;
  void pay();
  void prepare_next_turn();
  void log(int status, const std::string& why) const;

  ApiRequest request_;
  RequestInfo info_;
  std::shared_ptr<HttpReply> reply_;
  Serving& serving_;
  AnswerGrammars::Shared grammar_;
  std::unique_ptr<AnswerWriter> writer_;
  ResponseHead head_;
  std::vector<Prompt> prompts_;
  std::vector<std::unique_ptr<Choice>> choices_;
  Clock::time_point start_;
  std::optional<Clock::time_point> first_token_;
};

}  // namespace r1
