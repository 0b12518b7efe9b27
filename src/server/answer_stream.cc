#include "server/answer_stream.h"

#include <algorithm>
#include <utility>

namespace r1 {

AnswerStream::AnswerStream(const Tokenizer& tokenizer, const AnswerRules& rules)
    : tokenizer_(tokenizer),
      rules_(rules),
      decoder_(tokenizer),
      splitter_(rules.in_thought),
      stop_(rules.stop) {}

void AnswerStream::add_parts(const std::vector<ThinkPart>& parts) {
  for (const ThinkPart& part : parts) {
    if (part.is_thought) {
      delta_.reasoning += part.text;
    } else {
      delta_.content += stop_.feed(part.text);
    }
  }
}

void AnswerStream::add(const std::string& text) {
  if (rules_.splits_thought) {
    add_parts(splitter_.feed(text));
  } else {
    delta_.content += stop_.feed(text);
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
  delta_.content += stop_.flush();
}

AnswerStream::Delta AnswerStream::take() {
  return std::exchange(delta_, {});
}

}  // namespace r1
