#include "text/think.h"

#include <algorithm>

namespace r1 {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kSpaces = " \t\r\n";

void emit(bool is_thought, std::string_view text, std::vector<ThinkPart>& parts) {
  if (!text.empty()) parts.push_back({is_thought, std::string(text)});
}

// How many of the last bytes of `text` could begin `tag`.
size_t tag_begun(std::string_view text, std::string_view tag) {
  for (size_t size = std::min(text.size(), tag.size() - 1); size > 0; --size) {
    if (tag.starts_with(text.substr(text.size() - size))) return size;
  }
  return 0;
}

}  // namespace

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

// Whether the response begins with <think>; false: not known yet.
bool ThinkSplitter::read_start(bool at_end) {
  const size_t begin = std::min(held_.find_first_not_of(kSpaces), held_.size());
  const std::string_view rest = std::string_view(held_).substr(begin);
  if (rest.starts_with(kOpen)) {
    opened_ = true;
    held_.erase(0, begin + kOpen.size());
    return true;
  }
  return at_end || !kOpen.starts_with(rest);
}

void ThinkSplitter::emit_thought(std::string_view text, bool is_last, std::vector<ThinkPart>& parts) {
  if (!thought_begun_) text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
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
  // Without a thought the answer is the whole response, as it stands.
  if (!answer_begun_ && opened_) text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  if (!text.empty()) answer_begun_ = true;
  emit(false, text, parts);
}

void ThinkSplitter::advance(bool at_end, std::vector<ThinkPart>& parts) {
  if (!started_) started_ = read_start(at_end);
  if (!started_) return;
  if (opened_ && !closed_) {
    const size_t close = held_.find(kClose);
    if (close == std::string::npos) {
      const size_t keep = at_end ? 0 : tag_begun(held_, kClose);
      emit_thought(std::string_view(held_).substr(0, held_.size() - keep), at_end, parts);
      held_.erase(0, held_.size() - keep);
      return;
    }
    emit_thought(std::string_view(held_).substr(0, close), true, parts);
    held_.erase(0, close + kClose.size());
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
