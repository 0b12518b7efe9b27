// tests/emulator/ptx_text.cc: reads PTX.
#include "tests/emulator/ptx_text.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>

#include "base/error.h"

namespace r1::emulator {
namespace {

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
         c == '%' || c == '.' || c == ':';
}

// The words and signs of a text, without comments.
class Words {
 public:
  Words(std::string_view text, int line) : text_(text), line_(line) { next(); }

  const std::string_view& word() const { return word_; }
  int line() const { return word_line_; }
  bool at_end() const { return word_.empty(); }
  bool is(std::string_view what) const { return word_ == what; }
  size_t begin() const { return static_cast<size_t>(word_.data() - text_.data()); }

  std::string take() {
    std::string out(word_);
    next();
    return out;
  }
  void take(std::string_view what) {
    if (!is(what)) fail("expected " + std::string(what));
    next();
  }
  bool skip(std::string_view what) {
    if (!is(what)) return false;
    next();
    return true;
  }
  [[noreturn]] void fail(const std::string& why) const {
    const size_t from = text_.rfind('\n', begin()), to = text_.find('\n', begin());
    throw Error("PTX, line " + std::to_string(word_line_) + ": " + why + ": " +
                std::string(text_.substr(from + 1, to - from - 1)));
  }
  // A label ends in a colon, which is a part of the words of scopes (shared::cta) as well.
  bool is_label() const {
    return !word_.empty() && word_.back() == ':' && word_.find("::") == std::string_view::npos;
  }

  void next() {
    skip_space();
    word_line_ = line_;
    size_t end = at_;
    if (end < text_.size()) {
      if (text_[end] == '"') {
        end = text_.find('"', end + 1) + 1;
      } else if (is_word(text_[end])) {
        while (end < text_.size() && is_word(text_[end])) ++end;
      } else {
        ++end;
      }
    }
    word_ = text_.substr(at_, end - at_);
    at_ = end;
  }

 private:
  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '\n') ++line_;
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else if (c == '/' && text_.substr(at_, 2) == "//") {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        return;
      }
    }
  }

  std::string_view text_, word_;
  size_t at_ = 0;
  int line_ = 1, word_line_ = 1;
};

int64_t take_integer(Words& w) {
  const std::string text = w.take();
  int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
    w.fail("expected a number, not " + text);
  return value;
}

int64_t type_bytes(const Words& w, std::string_view type) {
  if (type == ".pred") return 0;
  int64_t bits = 0;
  std::from_chars(type.data() + 2, type.data() + type.size(), bits);
  if (bits % 8 != 0 || bits == 0) w.fail("unknown type " + std::string(type));
  return bits / 8;
}

// "[.align n] .b8 name[count]", behind the word that says where the variable lies.
Variable take_variable(Words& w) {
  Variable v;
  if (w.skip(".align")) v.align = take_integer(w);
  v.bytes = type_bytes(w, w.word());
  v.align = std::max(v.align, v.bytes);
  w.next();
  v.name = w.take();
  if (w.skip("[")) {
    if (w.is("]")) {
      v.dynamic = true;
      v.bytes = 0;
    } else {
      v.bytes *= take_integer(w);
    }
    w.take("]");
  }
  return v;
}

std::vector<Variable> take_parameters(Words& w) {
  std::vector<Variable> out;
  w.take("(");
  while (!w.skip(")")) {
    w.skip(",");
    w.take(".param");
    out.push_back(take_variable(w));
  }
  return out;
}

bool is_number(std::string_view word) {
  return !word.empty() && word[0] >= '0' && word[0] <= '9';
}

uint64_t take_number(Words& w, bool negative) {
  const std::string text = w.take();
  const char* const end = text.data() + text.size();
  uint64_t value = 0;
  std::from_chars_result read{};
  if (text.size() > 2 && (text[1] == 'f' || text[1] == 'd' || text[1] == 'x'))
    read = std::from_chars(text.data() + 2, end, value, 16);
  else
    read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || (read.ptr != end && *read.ptr != 'U')) w.fail("unknown number " + text);
  return negative ? 0 - value : value;
}

Operand take_operand(Words& w);

Operand take_list(Words& w) {
  Operand out{.kind = Operand::Kind::list};
  while (!w.skip("}")) {
    w.skip(",");
    out.parts.push_back(take_operand(w));
  }
  return out;
}

int64_t take_offset(Words& w) {
  if (!w.skip("+")) return 0;
  const bool negative = w.skip("-");
  return static_cast<int64_t>(take_number(w, negative));
}

Operand take_address(Words& w) {
  Operand out{.kind = Operand::Kind::address};
  if (is_number(w.word()))
    out.offset = static_cast<int64_t>(take_number(w, false));
  else
    out.name = w.take();
  out.offset += take_offset(w);
  if (w.skip(",")) {
    w.take("{");
    out.parts = take_list(w).parts;
  }
  w.take("]");
  return out;
}

Operand take_operand(Words& w) {
  if (w.skip("{")) return take_list(w);
  if (w.skip("[")) return take_address(w);
  if (w.skip("(")) {  // of a call
    Operand out{.kind = Operand::Kind::list};
    while (!w.skip(")")) {
      w.skip(",");
      out.parts.push_back(take_operand(w));
    }
    return out;
  }
  const bool negative = w.skip("-");
  if (is_number(w.word())) return {.kind = Operand::Kind::number, .bits = take_number(w, negative)};
  if (w.skip("_")) return {.kind = Operand::Kind::sink};
  Operand out{.name = w.take()};
  out.offset = take_offset(w);
  if (w.skip("|")) out.second = w.take();
  return out;
}

Statement take_instruction(Words& w) {
  Statement out{.line = w.line()};
  if (w.skip("@")) {
    out.guard_not = w.skip("!");
    out.guard = w.take();
  }
  out.name = w.take();
  while (!w.skip(";")) {
    if (w.at_end()) w.fail("the end of a statement is missing");
    w.skip(",");
    out.operands.push_back(take_operand(w));
  }
  return out;
}

Statement take_registers(Words& w) {
  Statement out{.kind = Statement::Kind::registers, .line = w.line()};
  w.take(".reg");
  out.width = static_cast<int>(type_bytes(w, w.word()) * 8);
  if (out.width == 0) out.width = 1;
  w.next();
  out.name = w.take();
  if (w.skip("<")) {
    out.count = static_cast<int>(take_integer(w));
    w.take(">");
  }
  w.take(";");
  return out;
}

void skip_balanced(Words& w) {
  int depth = 0;
  do {
    if (w.at_end()) w.fail("a brace is not closed");
    depth += w.is("{") ? 1 : w.is("}") ? -1 : 0;
    w.next();
  } while (depth > 0);
}

FunctionText take_function(Words& w, std::string_view text, bool kernel) {
  FunctionText f;
  f.kernel = kernel;
  if (!kernel && w.is("(")) w.fail("functions that return values are not known");
  f.name = w.take();
  if (w.is("(")) f.parameters = take_parameters(w);
  while (!w.is("{") && !w.is(";")) {
    if (w.skip(".maxntid")) {
      f.max_threads = take_integer(w);
      while (w.skip(",")) f.max_threads *= take_integer(w);
    } else {
      w.next();
    }
  }
  if (w.skip(";")) return f;
  f.body_line = w.line();
  const size_t begin = w.begin();
  skip_balanced(w);
  const size_t end = w.at_end() ? text.size() : w.begin();
  f.body = text.substr(begin, end - begin);
  f.body = f.body.substr(0, f.body.rfind('}') + 1);
  return f;
}

}  // namespace

ModuleText read_module(std::string text) {
  ModuleText module;
  module.text = std::move(text);
  Words w(module.text, 1);
  while (!w.at_end()) {
    if (w.is(".entry") || w.is(".func")) {
      const bool kernel = w.is(".entry");
      w.next();
      FunctionText f = take_function(w, module.text, kernel);
      if (!f.body.empty()) module.functions[f.name] = f;
    } else if (w.skip(".shared")) {
      module.shared.push_back(take_variable(w));
    } else if (w.is(".global") || w.is(".const")) {
      w.fail("variables of the device are not known");
    } else {
      w.next();
    }
  }
  return module;
}

std::vector<Statement> read_body(FunctionText& function) {
  std::vector<Statement> out;
  Words w(function.body, function.body_line);
  int depth = 0;
  while (!w.at_end()) {
    if (w.is("{") || w.is("}")) {
      depth += w.is("{") ? 1 : -1;
      out.push_back({.kind = w.is("{") ? Statement::Kind::open : Statement::Kind::close, .line = w.line()});
      w.next();
    } else if (w.is(".reg")) {
      out.push_back(take_registers(w));
    } else if (w.skip(".shared")) {
      function.shared.push_back(take_variable(w));
      w.take(";");
    } else if (w.skip(".local") || w.skip(".param")) {
      function.local.push_back(take_variable(w));
      w.take(";");
    } else if (w.is(".pragma")) {
      while (!w.skip(";")) w.next();
    } else if (w.is_label()) {
      std::string name = w.take();
      name.pop_back();
      out.push_back({.kind = Statement::Kind::label, .name = name, .line = w.line()});
    } else if (w.is(";")) {
      w.next();
    } else {
      out.push_back(take_instruction(w));
    }
  }
  return out;
}

}  // namespace r1::emulator
