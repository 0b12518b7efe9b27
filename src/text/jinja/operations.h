// text/jinja/operations.h: operations on values: operators, attributes, methods, filters, tests. All throw
// TemplateError in cases in which Jinja would raise.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"
#include "text/jinja/work.h"

namespace r1::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  // The argument at a position or of a name; nullptr if it is not given.
  const Value* find(size_t index, std::string_view name) const;
  const Value& want(size_t index, std::string_view name) const;
  bool flag(size_t index, std::string_view name) const;  // its truth; false if it is not given
};

// Operators: operators.cc
Value binary(Work& work, std::string_view op, const Value& a, const Value& b);
Value unary(std::string_view op, const Value& a);
bool compare(Work& work, std::string_view op, const Value& a, const Value& b);
bool contains(Work& work, const Value& container, const Value& item);
Value get_item(Work& work, const Value& object, const Value& key);
Value get_attribute(Work& work, const Value& object, const std::string& name);
Value get_slice(Work& work, const Value& object, const Value& start, const Value& stop, const Value& step);
std::vector<Value> iterate(Work& work, const Value& value);
// "function.name" of an item, as filters take attributes; a number is an index.
Value get_path(Work& work, const Value& item, const Value& path);

// Methods of strings, dicts and lists: methods.cc
bool has_method(const Value& object, std::string_view name);
Value call_method(Work& work, const Value& object, std::string_view name, const Arguments& arguments);

// Filters and tests: filters.cc, filters_group.cc, filters_text.cc, tests.cc
Value apply_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments);
bool apply_text_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments,
                       Value& out);
bool apply_group_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments,
                        Value& out);
bool apply_test(Work& work, std::string_view name, const Value& input, const Arguments& arguments);

// Python's str methods that filters share.
std::string strip(std::string_view text, const Value* characters, bool left, bool right);
std::string replace(Work& work, std::string_view text, std::string_view from, std::string_view to,
                    int64_t count);
// str.format and %: string_format.cc
std::string format_fields(Work& work, std::string_view text, const Arguments& arguments);
std::string format_percent(Work& work, std::string_view text, const Value& values);
std::string change_case(std::string_view text, std::string_view how);  // upper, lower, capitalize, title
std::string case_folded(std::string_view text);

}  // namespace r1::jinja
