#include <set>
#include <utility>

#include "server/answer_writer.h"

namespace r1 {
namespace {

class OpenAiWriter final : public AnswerWriter {
 public:
  OpenAiWriter(std::shared_ptr<HttpReply> reply, const Tokenizer& tokenizer, ResponseHead head,
               AnswerView view)
      : reply_(std::move(reply)), tokenizer_(tokenizer), head_(std::move(head)), view_(std::move(view)) {}

  void part(const ChoiceText& part) override {
    if (opened_.insert(part.index).second && head_.is_chat) {
      Json opening = response_head(head_, true);
      if (view_.token_ids) opening.set("prompt_token_ids", Json::array_of(view_.prompt));
      write(opening, chunk_choice_json(tokenizer_, head_, {.index = part.index}, true));
    }
    Json chunk = response_head(head_, true);
    written_ = true;
    write(chunk, chunk_choice_json(tokenizer_, head_, part, false));
  }

  void end_stream(const TokenUsage& usage) override {
    if (view_.include_usage) {
      Json last = response_head(head_, true);
      last.set("choices", Json::array()).set("usage", usage_json(usage));
      reply_->write(event_of(last));
    }
    reply_->write("data: [DONE]\n\n");
    reply_->end();
  }

  void send(const std::vector<ChoiceText>& choices, const TokenUsage& usage) override {
    Json list = Json::array();
    for (const ChoiceText& choice : choices) list.push_back(choice_json(tokenizer_, head_, choice));
    Json answer = response_head(head_, false);
    answer.set("choices", std::move(list)).set("usage", usage_json(usage));
    if (view_.token_ids && !view_.prompt.empty())
      answer.set("prompt_token_ids", Json::array_of(view_.prompt));
    reply_->send({.body = answer.dump(), .headers = {{"X-Request-Id", head_.id}}});
  }

  void fail(const ApiError& why) override {
    if (!written_) return reply_->send(error_response(why));
    reply_->write("data: " + error_json(why) + "\n\n");
    reply_->end();
  }

 private:
  void write(Json& chunk, Json choice) {
    chunk.set("choices", Json::array().push_back(std::move(choice)));
    if (view_.include_usage) chunk.set("usage", Json());
    reply_->write(event_of(chunk));
  }

  std::shared_ptr<HttpReply> reply_;
  const Tokenizer& tokenizer_;
  ResponseHead head_;
  AnswerView view_;
  std::set<int64_t> opened_;  // choices whose first chunk is written
  bool written_ = false;      // a chunk of the stream
};

}  // namespace

std::unique_ptr<AnswerWriter> openai_writer(std::shared_ptr<HttpReply> reply, const Tokenizer& tokenizer,
                                            ResponseHead head, AnswerView view) {
  return std::make_unique<OpenAiWriter>(std::move(reply), tokenizer, std::move(head), std::move(view));
}

}  // namespace r1
