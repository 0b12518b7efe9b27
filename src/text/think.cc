#include "text/think.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"

namespace r1 {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

std::string_view without_leading_spaces(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(kSpaces), text.size()));
}

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

void emit(bool is_thought, std::string_view text, std::vector<ThinkPart>& parts) {
  if (!text.empty()) parts.push_back({is_thought, std::string(text)});
}

// The number of last bytes of `text` that could begin `tag`.
size_t tag_begun(std::string_view text, std::string_view tag) {
  for (size_t size = std::min(text.size(), tag.size() - 1); size > 0; --size) {
    if (tag.starts_with(text.substr(text.size() - size))) return size;
  }
  return 0;
}

// True if the text ends with </think>, white space aside.
bool closes_thought(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kSpaces) + 1).ends_with(kThinkClose);
}

}  // namespace

std::string_view thought_opening(std::string_view prompt) {
  const size_t end = prompt.find_last_not_of(kSpaces) + 1;  // npos + 1 is 0
  if (!prompt.substr(0, end).ends_with(kThinkOpen)) return {};
  return prompt.substr(end - kThinkOpen.size());
}

std::string whole_response(std::string_view response, std::string_view opening) {
  const bool opens_itself = without_leading_spaces(response).starts_with(kThinkOpen);
  return std::string(opens_itself ? std::string_view() : opening) + std::string(response);
}

std::string_view rest_of_response(std::string_view response, std::string_view opening) {
  const std::string_view tagged = without_leading_spaces(response);
  if (opening.empty() || !tagged.starts_with(kThinkOpen)) return response;
  const std::string_view rest = tagged.substr(kThinkOpen.size());
  return rest.substr(common_prefix(rest, opening.substr(kThinkOpen.size())));
}

bool opens_thought(std::string_view opening) {
  return !thought_opening(opening).empty();
}

std::string with_open_thought(std::string prompt, std::string_view before) {
  if (opens_thought(prompt)) return prompt;
  if (closes_thought(prompt)) throw Error("the prompt ends with </think>, so it cannot open a thought");
  return prompt.append(before).append(kThinkOpen).append("\n");
}

std::string with_empty_thought(std::string prompt, std::string_view before) {
  if (closes_thought(prompt)) return prompt;
  if (!opens_thought(prompt)) return prompt.append(before).append(kEmptyThought);
  prompt.resize(prompt.size() - thought_opening(prompt).size());
  return prompt.append(kEmptyThought);
}

std::optional<ThoughtSpan> find_thought(std::string_view response, bool prompt_opened) {
  const std::string_view tagged = without_leading_spaces(response);
  const bool opens_itself = tagged.starts_with(kThinkOpen);
  if (!opens_itself && !prompt_opened) return std::nullopt;
  ThoughtSpan thought;
  if (opens_itself) thought.begin = response.size() - tagged.size() + kThinkOpen.size();
  thought.end = response.find(kThinkClose, thought.begin);
  thought.closed = thought.end != std::string_view::npos;
  if (!thought.closed) thought.end = response.size();
  return thought;
}

bool is_hidden(const Tokenizer& tokenizer, int32_t token) {
  if (!tokenizer.is_special(token)) return false;
  const std::string text = tokenizer.piece_bytes(token);
  return text != kThinkOpen && text != kThinkClose;
}

std::string response_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  std::vector<int32_t> shown;
  std::ranges::copy_if(tokens, std::back_inserter(shown),
                       [&](int32_t t) { return !is_hidden(tokenizer, t); });
  return tokenizer.decode(shown);
}

std::vector<ThinkPart> ThinkSplitter::feed(std::string_view text) {
  std::vector<ThinkPart> parts;
  held_ += text;
  advance(false, parts);
  return parts;
}

std::vector<ThinkPart> ThinkSplitter::flush() {
  std::vector<ThinkPart> parts;
  advance(true, parts);
  return parts;
}

// Sets opened_ if the response begins with <think>. Returns false if that is not known yet.
bool ThinkSplitter::read_start(bool at_end) {
  const std::string_view rest = without_leading_spaces(held_);
  if (rest.starts_with(kThinkOpen)) {
    opened_ = true;
    held_.erase(0, held_.size() - rest.size() + kThinkOpen.size());
    return true;
  }
  return at_end || !kThinkOpen.starts_with(rest);
}

void ThinkSplitter::emit_thought(std::string_view text, bool is_last, std::vector<ThinkPart>& parts) {
  if (!thought_begun_) text = without_leading_spaces(text);
  if (!text.empty()) thought_begun_ = true;
  const size_t end = text.find_last_not_of(kSpaces) + 1;  // npos + 1 is 0
  if (end > 0) {
    emit(true, spaces_ + std::string(text.substr(0, end)), parts);
    spaces_.clear();
  }
  spaces_ += text.substr(end);
  if (is_last) spaces_.clear();
}

void ThinkSplitter::emit_answer(std::string_view text, std::vector<ThinkPart>& parts) {
  // Without a thought, the answer is the whole response, unchanged.
  if (!answer_begun_ && opened_) text = without_leading_spaces(text);
  if (!text.empty()) answer_begun_ = true;
  emit(false, text, parts);
}

void ThinkSplitter::advance(bool at_end, std::vector<ThinkPart>& parts) {
  if (!started_) started_ = read_start(at_end);
  if (!started_) return;
  if (opened_ && !closed_) {
    const size_t close = held_.find(kThinkClose);
    if (close == std::string::npos) {
      const size_t keep = at_end ? 0 : tag_begun(held_, kThinkClose);
      emit_thought(std::string_view(held_).substr(0, held_.size() - keep), at_end, parts);
      held_.erase(0, held_.size() - keep);
      return;
    }
    emit_thought(std::string_view(held_).substr(0, close), true, parts);
    held_.erase(0, close + kThinkClose.size());
    closed_ = true;
  }
  emit_answer(held_, parts);
  held_.clear();
}

ThinkSplit split_think(std::string_view response, bool prompt_opened) {
  ThinkSplitter splitter(prompt_opened);
  ThinkSplit out;
  const auto take = [&](const std::vector<ThinkPart>& parts) {
    for (const ThinkPart& part : parts) (part.is_thought ? out.thought : out.answer) += part.text;
  };
  take(splitter.feed(response));
  out.closed = splitter.has_thought() && !splitter.is_thinking();
  take(splitter.flush());
  out.has_thought = splitter.has_thought();
  return out;
}

}  // namespace r1
