#include "server/answer_stream.h"

#include <algorithm>
#include <utility>

namespace r1 {

AnswerStream::AnswerStream(const Tokenizer& tokenizer, const AnswerRules& rules)
    : tokenizer_(tokenizer),
      rules_(rules),
      decoder_(tokenizer),
      splitter_(rules.in_thought),
      stop_(rules.stop) {
  if (rules.calls != nullptr) calls_.emplace(*rules.calls);
}

void AnswerStream::say(std::string text) {
  if (rules_.keeps_content) content_ += text;
  delta_.content += text;
}

void AnswerStream::add_call(ToolCallPart part) {
  const auto add = [](std::vector<ToolCallPart>& calls, const ToolCallPart& more) {
    if (calls.empty() || calls.back().index != more.index) {
      calls.push_back(more);
    } else {
      calls.back().arguments += more.arguments;
    }
  };
  if (rules_.keeps_content) add(all_calls_, part);
  add(delta_.calls, part);
}

void AnswerStream::add_content(std::string_view text) {
  if (!calls_) return say(stop_.feed(text));
  ToolCallReader::Output out;
  calls_->feed(text, out);
  say(stop_.feed(out.text));
  if (stop_.found()) return;
  if (!out.calls.empty()) say(stop_.flush());  // what was held back comes before the calls
  for (ToolCallPart& part : out.calls) add_call(std::move(part));
}

void AnswerStream::add_parts(const std::vector<ThinkPart>& parts) {
  for (const ThinkPart& part : parts) {
    if (part.is_thought) {
      delta_.reasoning += part.text;
    } else {
      add_content(part.text);
    }
  }
}

void AnswerStream::add(const std::string& text) {
  if (rules_.splits_thought) {
    add_parts(splitter_.feed(text));
  } else {
    add_content(text);
  }
}

AnswerStream::Next AnswerStream::feed(TokenRecord token) {
  ++tokens_;
  const int32_t id = token.token;
  const bool was_thinking = splitter_.is_thinking();
  delta_.tokens.push_back(std::move(token));
  const bool ends = std::ranges::find(rules_.stop_tokens, id) != rules_.stop_tokens.end();
  if (!ends && !is_hidden(tokenizer_, id)) add(decoder_.feed(id));
  if (stop_.found()) return Next::stop;
  const bool is_thinking = splitter_.is_thinking();
  if (was_thinking && is_thinking && !ends) ++thought_tokens_;
  if (!is_thinking || closing_ || ends || !rules_.thought_limit) return Next::go_on;
  if (thought_tokens_ < *rules_.thought_limit) return Next::go_on;
  closing_ = true;
  return Next::close_thought;
}

void AnswerStream::finish() {
  add(decoder_.flush());
  if (rules_.splits_thought) add_parts(splitter_.flush());
  if (calls_ && !stop_.found()) {
    ToolCallReader::Output out;
    calls_->flush(out);
    say(stop_.feed(out.text));
  }
  say(stop_.flush());
}

AnswerStream::Delta AnswerStream::take() {
  return std::exchange(delta_, {});
}

}  // namespace r1
