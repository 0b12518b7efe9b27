// text/jinja/value.h: the values of a template, with Python's semantics: truth, equality, printing, order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "formats/json.h"

namespace r1::jinja {

// An error in a template or in its execution, with the template's line (from 1; 0: not known yet).
class TemplateError : public Error {
 public:
  explicit TemplateError(const std::string& reason, int line = 0) : Error(reason), line_(line) {}
  int line() const { return line_; }

 private:
  int line_;
};

class Value;
struct Macro;

// The size of a list or dict with all that it holds: the cost of printing or comparing it. A value counts as
// often as it is held (a list may hold one list many times). Set when the value is made, and constant
// afterwards.
struct Extent {
  size_t weight = 1;  // values, and 16 bytes of text each
  int depth = 1;
};
inline constexpr size_t kMaxWeight = size_t{1} << 22;
inline constexpr int kMaxNesting = 160;  // more than JSON's limit

struct List {
  // generator: a filter's lazy result; view: the result of dict.items() and its like
  enum class Kind { list, tuple, generator, view };
  std::vector<Value> items;
  Kind kind = Kind::list;
  Extent extent = {};
  bool is_group = false;  // a tuple of groupby: its parts are also called grouper and list
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in insertion order; templates' dicts are small
  bool is_namespace = false;                   // the only mutable dict; printed and compared as a whole
  Extent extent = {};
  Value* find(const Value& key);
  const Value* find(const Value& key) const { return const_cast<Dict*>(this)->find(key); }
  const Value* find(std::string_view key) const;
  void set(Value key, Value value);
};

struct Stmt;

struct Loop {
  std::shared_ptr<const List> list;
  size_t index = 0;                 // from 0
  int depth = 1;                    // of a recursive loop: its nesting depth in itself
  const Stmt* recursive = nullptr;  // of a recursive loop: the statement that loop(...) runs again
  size_t scope = 0;                 // of a recursive loop: the scope in which it runs
  std::vector<Value> last_changed;  // loop.changed's memory
  bool has_changed = false;
};

struct Function {
  enum class Kind { macro, global, method, loop_cycle, loop_changed, caller } kind = Kind::global;
  std::string name;
  const Macro* macro = nullptr;
  std::shared_ptr<const Value> self;  // method: the object it belongs to
  std::shared_ptr<Loop> loop;
  size_t scope = 0;  // caller: the scope its body sees
};

// An integer beyond 64 bits: it is printed and compared, but not calculated with.
struct BigInteger {
  std::string digits;  // with a minus sign if negative; no leading zeros
};

struct Undefined {
  std::string what;  // "'tools' is undefined"
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  static Value undefined(std::string what) { return Value(Undefined{std::move(what)}); }
  static Value none() { return Value(std::monostate()); }
  static Value of(bool value) { return Value(value); }
  static Value of(int64_t value) { return Value(value); }
  static Value of(double value) { return Value(value); }
  static Value big(std::string digits) {
    return Value(std::make_shared<const BigInteger>(BigInteger{std::move(digits)}));
  }
  // An integer written in decimal, with any number of digits: "-12".
  static Value integer(std::string_view digits);
  static Value of(std::string value) { return Value(std::make_shared<const std::string>(std::move(value))); }
  // A text that `safe` marked: a text that is added to it is escaped for HTML, as in MarkupSafe.
  static Value markup(std::string value) {
    Value out = of(std::move(value));
    out.is_markup_ = true;
    return out;
  }
  static Value of(std::shared_ptr<Dict> dict);  // complete, unless it is a namespace
  static Value of(std::shared_ptr<Loop> loop) { return Value(std::move(loop)); }
  static Value of(std::shared_ptr<const Function> function) { return Value(std::move(function)); }
  static Value list(std::vector<Value> items, List::Kind kind = List::Kind::list);
  static Value from_json(const Json& json);

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<std::monostate>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const { return holds<int64_t>(); }  // bool excluded
  bool is_float() const { return holds<double>(); }
  bool is_big() const { return holds<std::shared_ptr<const BigInteger>>(); }
  bool is_number() const { return is_bool() || is_int() || is_float() || is_big(); }
  bool is_string() const { return holds<std::shared_ptr<const std::string>>(); }
  bool is_markup() const { return is_markup_; }
  bool is_list() const { return holds<std::shared_ptr<List>>(); }  // of any List::Kind
  bool is_dict() const { return holds<std::shared_ptr<Dict>>(); }  // a namespace too
  bool is_mapping() const { return is_dict() && !dict().is_namespace; }
  bool is_loop() const { return holds<std::shared_ptr<Loop>>(); }
  bool is_function() const { return holds<std::shared_ptr<const Function>>(); }

  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const std::string& digits() const { return std::get<std::shared_ptr<const BigInteger>>(data_)->digits; }
  List& list() const { return *std::get<std::shared_ptr<List>>(data_); }
  Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  const std::shared_ptr<List>& shared_list() const { return std::get<std::shared_ptr<List>>(data_); }
  const std::shared_ptr<Loop>& loop() const { return std::get<std::shared_ptr<Loop>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }
  const std::string& undefined_reason() const { return std::get<Undefined>(data_).what; }

  bool truth() const;
  const char* type_name() const;  // Python's
  Extent extent() const;
  // Throw TemplateError where Python would.
  int64_t to_int() const;  // bool or int of 64 bits only
  double to_double() const;
  [[noreturn]] void fail_undefined() const;

 private:
  using Data =
      std::variant<Undefined, std::monostate, bool, int64_t, double, std::shared_ptr<const BigInteger>,
                   std::shared_ptr<const std::string>, std::shared_ptr<List>, std::shared_ptr<Dict>,
                   std::shared_ptr<Loop>, std::shared_ptr<const Function>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }
  Data data_;
  bool is_markup_ = false;
};

// value rounded towards zero: int(value) in Python. Throws TemplateError for NaN and infinity.
Value truncated(double value);

bool equal(const Value& a, const Value& b);
// a < b; throws TemplateError for kinds that have no order.
bool less(const Value& a, const Value& b);
std::string to_text(const Value& value);  // Python's str()
std::string to_repr(const Value& value);  // Python's repr()

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent = {};  // of a level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style, int depth = 0);  // Python's json.dumps

// Code points.
size_t length_of(std::string_view text);
// The byte offset of code point `index`, at most text.size().
size_t offset_of(std::string_view text, size_t index);

}  // namespace r1::jinja
