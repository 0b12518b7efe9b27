#include "server/tool_syntax.h"

#include <algorithm>

#include "base/error.h"

namespace r1 {
namespace {

// Returns the length of the longest end of `text` that begins `word`, but is not the whole word.
size_t begun_marker(std::string_view text, std::string_view word) {
  size_t length = std::min(text.size(), word.size() - 1);
  while (!text.ends_with(word.substr(0, length))) --length;
  return length;
}

constexpr std::string_view kWhiteSpace = " \t\r\n";

}  // namespace

const ToolSyntax& tool_syntax(ToolStyle style) {
  static const ToolSyntax r1{.open = "<｜tool▁calls▁begin｜>",
                             .marker = "<｜tool▁calls▁begin｜>",
                             .call_begin = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
                             .name_end = "\n```json\n",
                             .call_end = "\n```<｜tool▁call▁end｜>",
                             .between = "\n",
                             .close = "<｜tool▁calls▁end｜>"};
  static const ToolSyntax v31{.open = "<｜tool▁calls▁begin｜>",
                              .marker = "<｜tool▁calls▁begin｜>",
                              .call_begin = "<｜tool▁call▁begin｜>",
                              .name_end = "<｜tool▁sep｜>",
                              .call_end = "<｜tool▁call▁end｜>",
                              .between = "",
                              .close = "<｜tool▁calls▁end｜>"};
  static const ToolSyntax hermes{.open = "",
                                 .marker = "<tool_call>",
                                 .call_begin = "<tool_call>\n{\"name\": \"",
                                 .name_end = "\", \"arguments\": ",
                                 .call_end = "}\n</tool_call>",
                                 .between = "\n",
                                 .close = ""};
  return style == ToolStyle::deepseek_r1 ? r1 : style == ToolStyle::deepseek_v31 ? v31 : hermes;
}

std::string call_text(const ToolSyntax& syntax, std::string_view name, std::string_view arguments) {
  return syntax.call_begin + std::string(name) + syntax.name_end + std::string(arguments) + syntax.call_end;
}

void ToolCallReader::feed(std::string_view text, Output& out) {
  held_ += text;
  while (advance(out)) {
  }
}

void ToolCallReader::flush(Output& out) {
  if (state_ == State::text) out.text += held_;
  held_.clear();
}

// Returns false if more text is needed.
bool ToolCallReader::advance(Output& out) {
  switch (state_) {
    case State::text:
      return read_text(out);
    case State::begin:
      return skip(expected_, State::name);
    case State::name:
      return read_name(out);
    case State::arguments:
      return read_arguments(out);
    case State::end:
      if (!skip(syntax_->call_end, State::after)) return false;
      if (state_ == State::after) ++complete_;
      return true;
    case State::after:
      return read_after();
    case State::over:
      held_.clear();
      return false;
  }
  return false;
}

bool ToolCallReader::read_text(Output& out) {
  const size_t at = held_.find(syntax_->marker);
  size_t end = at;
  if (at == std::string::npos) end = held_.size() - begun_marker(held_, syntax_->marker);
  while (end > 0 && kWhiteSpace.find(held_[end - 1]) != std::string_view::npos) --end;
  out.text.append(held_, 0, end);
  if (at == std::string::npos) {
    held_.erase(0, end);
    return false;
  }
  held_.erase(0, at + syntax_->marker.size());
  expected_ = (syntax_->open + syntax_->call_begin).substr(syntax_->marker.size());
  state_ = State::begin;
  return true;
}

// Goes on behind `literal`, or to the end if something else is written.
bool ToolCallReader::skip(std::string_view literal, State next) {
  if (held_.size() < literal.size() && literal.starts_with(held_)) return false;
  state_ = held_.starts_with(literal) ? next : State::over;
  if (state_ == next) held_.erase(0, literal.size());
  return true;
}

bool ToolCallReader::read_name(Output& out) {
  const size_t at = held_.find(syntax_->name_end);
  if (at == std::string::npos) return false;
  out.calls.push_back({.index = begun_++, .begins = true, .name = held_.substr(0, at)});
  held_.erase(0, at + syntax_->name_end.size());
  depth_ = 0;
  state_ = State::arguments;
  return true;
}

bool ToolCallReader::read_arguments(Output& out) {
  size_t size = 0;
  bool ends = false;
  while (size < held_.size() && !ends) {
    const char c = held_[size++];
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      ends = --depth_ <= 0;
    }
  }
  if (size > 0) {
    const int64_t index = begun_ - 1;
    if (out.calls.empty() || out.calls.back().index != index) out.calls.push_back({.index = index});
    out.calls.back().arguments.append(held_, 0, size);
    held_.erase(0, size);
  }
  if (ends) state_ = State::end;
  return ends;
}

bool ToolCallReader::read_after() {
  const std::string next = syntax_->between + syntax_->call_begin;
  if (held_.starts_with(next)) {
    held_.erase(0, next.size());
    state_ = State::name;
    return true;
  }
  if (next.starts_with(held_) || (held_.size() < syntax_->close.size() && syntax_->close.starts_with(held_)))
    return false;
  state_ = State::over;
  return true;
}

}  // namespace r1
