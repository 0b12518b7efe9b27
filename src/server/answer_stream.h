// server/answer_stream.h: one answer while it is made: its tokens become thought, content and calls of
// functions, up to a stop string; a thought that reaches its limit is closed.
//
// Pure bookkeeping on the tokens of one answer, so that an answer is a function of its request alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ops/sample/sample.h"
#include "server/stop_strings.h"
#include "server/tool_syntax.h"
#include "text/think.h"
#include "text/tokenizer.h"

namespace r1 {

// The rules that all answers to a request share.
struct AnswerRules {
  bool splits_thought = false;           // chat: thought and content are apart. Otherwise all text is content
  bool in_thought = false;               // the prompt has opened the thought
  std::optional<int64_t> thought_limit;  // tokens
  std::vector<int32_t> close;            // the tokens of </think>
  std::vector<std::string> stop;         // applied to the content
  std::vector<int32_t> stop_tokens;      // have no text; the last token of an answer
  const ToolSyntax* calls = nullptr;     // the content may have calls of functions
  bool keeps_content = false;            // for AnswerStream::content() and calls()
};

// A token with its log-probs.
struct TokenRecord {
  int32_t token = 0;
  float logprob = 0;
  std::vector<Sampled> likeliest = {};
};

class AnswerStream {
 public:
  // The rules outlive this object.
  AnswerStream(const Tokenizer& tokenizer, const AnswerRules& rules);

  enum class Next : uint8_t { go_on, stop, close_thought };
  // Takes the next token. stop: a stop string is complete, and the sample must be ended. close_thought: the
  // next tokens must be rules.close.
  Next feed(TokenRecord token);
  void finish();  // the sample has ended

  // The text that has become certain since the last call, in this order. Several parts are there only if a
  // thought ended or the calls began.
  struct Delta {
    std::string reasoning, content;
    std::vector<ToolCallPart> calls;
    std::vector<TokenRecord> tokens;
    bool empty() const { return reasoning.empty() && content.empty() && calls.empty(); }
  };
  Delta take();
  bool has_text() const { return !delta_.empty(); }  // take() would give text

  bool has_thought() const { return splitter_.has_thought(); }
  int64_t tokens() const { return tokens_; }
  int64_t thought_tokens() const { return thought_tokens_; }
  bool closed_by_limit() const { return closing_; }
  const StopStrings& stop() const { return stop_; }
  int64_t complete_calls() const { return calls_ ? calls_->complete_calls() : 0; }
  bool in_calls() const { return calls_ && calls_->in_calls(); }
  // The whole content so far, up to a stop string, if the rules keep it.
  const std::string& content() const { return content_; }
  const std::vector<ToolCallPart>& calls() const { return all_calls_; }  // likewise, one part per call

 private:
  void add(const std::string& text);
  void add_parts(const std::vector<ThinkPart>& parts);
  void add_content(std::string_view text);
  void add_call(ToolCallPart part);
  void say(std::string text);

  Tokenizer tokenizer_;
  const AnswerRules& rules_;
  StreamDecoder decoder_;
  ThinkSplitter splitter_;
  StopStrings stop_;
  std::optional<ToolCallReader> calls_;
  Delta delta_;
  std::string content_;
  std::vector<ToolCallPart> all_calls_;
  int64_t tokens_ = 0, thought_tokens_ = 0;
  bool closing_ = false;  // the thought's end has been forced
};

}  // namespace r1
