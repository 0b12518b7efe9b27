// server/messages_writer.cc: answers in the form of Anthropic's messages: one message of thinking, text and
// tool_use blocks, whole or as named events.
#include <optional>
#include <utility>

#include "base/hash.h"
#include "server/answer_writer.h"
#include "server/messages_error.h"

namespace r1 {
namespace {

std::string named_event(const Json& data) {
  return "event: " + data.get_string("type") + "\ndata: " + data.dump() + "\n\n";
}

// Clients expect a signature of a thought. Nothing is signed here; it is a digest of the text.
std::string signature_of(const std::string& thought) {
  return sha256_hex(thought).substr(0, 32);
}

Json thinking_block(const std::string& thought) {
  Json block = Json::object().set("type", "thinking").set("thinking", thought);
  return block.set("signature", thought.empty() ? "" : signature_of(thought));
}

Json text_block(const std::string& text) {
  return Json::object().set("type", "text").set("text", text).set("citations", Json());
}

// OpenAI counts cached tokens as a part of the prompt's, Anthropic beside them.
Json message_usage(const TokenUsage& usage) {
  Json out = Json::object();
  out.set("input_tokens", usage.prompt - usage.cached).set("cache_creation_input_tokens", 0);
  return out.set("cache_read_input_tokens", usage.cached).set("output_tokens", usage.completion);
}

struct StopReason {
  std::string reason;
  Json sequence;
};
StopReason stop_reason_of(const Finish& finish) {
  if (finish.reason == "tool_calls") return {"tool_use", {}};
  if (finish.reason != "stop") return {"max_tokens", {}};
  if (finish.stop.is_string()) return {"stop_sequence", finish.stop};
  return {"end_turn", {}};
}

class MessagesWriter final : public AnswerWriter {
 public:
  MessagesWriter(std::shared_ptr<HttpReply> reply, ResponseHead head, AnswerView view)
      : reply_(std::move(reply)), head_(std::move(head)), view_(std::move(view)) {}

  void part(const ChoiceText& part) override {
    if (!started_) start();
    if (!part.reasoning.empty()) {
      open("thinking", thinking_block(""));
      thought_ += part.reasoning;
      delta(Json::object().set("type", "thinking_delta").set("thinking", part.reasoning));
    }
    if (!part.content.empty()) {
      open("text", text_block(""));
      delta(Json::object().set("type", "text_delta").set("text", part.content));
    }
    for (const ToolCallPart& call : part.calls) {
      if (call.begins) {
        close();
        Json block = Json::object().set("type", "tool_use");
        block.set("id", call_id(head_, "toolu_", 0, call.index)).set("name", call.name);
        open("tool_use", block.set("input", Json::object()));
      }
      if (!call.arguments.empty())
        delta(Json::object().set("type", "input_json_delta").set("partial_json", call.arguments));
    }
    if (part.finish) finish_ = part.finish;
  }

  void end_stream(const TokenUsage& usage) override {
    if (!started_) start();
    if (blocks_ == 0 && open_.empty()) open("text", text_block(""));
    close();
    const StopReason stop =
        stop_reason_of(finish_.value_or(Finish{.reason = "stop", .detail = "end", .stop = {}}));
    Json change = Json::object().set("stop_reason", stop.reason).set("stop_sequence", stop.sequence);
    if (finish_) change.set("finish_detail", finish_->detail);
    Json last = Json::object().set("type", "message_delta").set("delta", std::move(change));
    write(last.set("usage", message_usage(usage)));
    write(Json::object().set("type", "message_stop"));
    reply_->end();
  }

  void send(const std::vector<ChoiceText>& choices, const TokenUsage& usage) override {
    const ChoiceText& choice = choices.front();
    Json blocks = Json::array();
    if (!choice.reasoning.empty()) blocks.push_back(thinking_block(choice.reasoning));
    if (!choice.content.empty()) blocks.push_back(text_block(choice.content));
    for (const ToolCallPart& call : choice.calls) {
      std::optional<Json> input = arguments_of(call.arguments);
      if (!input) continue;  // the answer was cut in it, which finish_detail says
      Json block = Json::object().set("type", "tool_use");
      block.set("id", call_id(head_, "toolu_", 0, call.index)).set("name", call.name);
      blocks.push_back(std::move(block.set("input", std::move(*input))));
    }
    if (blocks.size() == 0) blocks.push_back(text_block(""));
    Json answer = message(std::move(blocks), usage);
    const StopReason stop = stop_reason_of(*choice.finish);
    answer.set("stop_reason", stop.reason).set("stop_sequence", stop.sequence);
    answer.set("finish_detail", choice.finish->detail);
    reply_->send({.body = answer.dump(), .headers = {{"X-Request-Id", head_.id}, {"request-id", head_.id}}});
  }

  void fail(const ApiError& why) override {
    if (!started_) return reply_->send(messages_error_response(why, head_.id));
    write(messages_error(why));
    reply_->end();
  }

 private:
  static std::optional<Json> arguments_of(const std::string& text) {
    try {
      return parse_json(text, "arguments");
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  Json message(Json blocks, const TokenUsage& usage) const {
    Json out = Json::object();
    out.set("id", head_.id).set("type", "message").set("role", "assistant").set("model", head_.model);
    out.set("content", std::move(blocks)).set("stop_reason", Json()).set("stop_sequence", Json());
    return out.set("usage", message_usage(usage)).set("seed", static_cast<int64_t>(head_.seed));
  }

  void write(const Json& event) { reply_->write(named_event(event)); }

  void start() {
    started_ = true;
    // The number of cached tokens is known at the end only.
    const TokenUsage usage{.prompt = std::ssize(view_.prompt)};
    write(Json::object().set("type", "message_start").set("message", message(Json::array(), usage)));
  }

  // Opens a block of a kind, unless the last one is of that kind and goes on.
  void open(const std::string& kind, const Json& block) {
    if (open_ == kind) return;
    close();
    open_ = kind;
    Json event = Json::object().set("type", "content_block_start").set("index", blocks_);
    write(event.set("content_block", block));
  }

  void close() {
    if (open_.empty()) return;
    if (open_ == "thinking")
      delta(Json::object().set("type", "signature_delta").set("signature", signature_of(thought_)));
    write(Json::object().set("type", "content_block_stop").set("index", blocks_++));
    open_.clear();
  }

  void delta(Json change) {
    Json event = Json::object().set("type", "content_block_delta").set("index", blocks_);
    write(event.set("delta", std::move(change)));
  }

  std::shared_ptr<HttpReply> reply_;
  ResponseHead head_;
  AnswerView view_;
  bool started_ = false;
  std::string open_;    // the kind of the open block
  int64_t blocks_ = 0;  // that are closed
  std::string thought_;
  std::optional<Finish> finish_;
};

}  // namespace

std::unique_ptr<AnswerWriter> messages_writer(std::shared_ptr<HttpReply> reply, ResponseHead head,
                                              AnswerView view) {
  return std::make_unique<MessagesWriter>(std::move(reply), std::move(head), std::move(view));
}

}  // namespace r1
