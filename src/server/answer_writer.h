// server/answer_writer.h: answers in the form of an API, whole or as a stream of events.
#pragma once

#include <memory>
#include <vector>

#include "server/api_error.h"
#include "server/http_server.h"
#include "server/response_json.h"
#include "text/tokenizer.h"

namespace r1 {

// The parts of its answers that a request wants to see.
struct AnswerView {
  bool include_usage = false, token_ids = false;
  std::vector<int32_t> prompt = {};  // the tokens of the only prompt; empty if there are several
};

// Used by one thread, the engine's.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  // A stream: the next part of a choice, which is of one kind (thought, content or calls), or its end.
  virtual void part(const ChoiceText& part) = 0;
  virtual void end_stream(const TokenUsage& usage) = 0;
  // Not a stream: all choices.
  virtual void send(const std::vector<ChoiceText>& choices, const TokenUsage& usage) = 0;
  // An error in place of the answer, or in its middle.
  virtual void fail(const ApiError& why) = 0;
};

// OpenAI's chats and completions. The tokenizer outlives the writer.
std::unique_ptr<AnswerWriter> openai_writer(std::shared_ptr<HttpReply> reply, const Tokenizer& tokenizer,
                                            ResponseHead head, AnswerView view);
// Anthropic's messages.
std::unique_ptr<AnswerWriter> messages_writer(std::shared_ptr<HttpReply> reply, ResponseHead head,
                                              AnswerView view);

}  // namespace r1
