// Filters that regroup a sequence: batch, slice, groupby, sort, dictsort, unique.
#include <fmt/format.h>

#include <algorithm>

#include "formats/shown.h"
#include "text/jinja/operations.h"

namespace r1::jinja {
namespace {

Value folded(const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? Value::of(change_case(value.string(), "lower")) : value;
}

using Keyed = std::vector<std::pair<Value, Value>>;

// A stable sort by key. As in Python, reverse keeps equal items in order.
void sort_by_keys(Work& work, Keyed& keyed, bool reverse) {
  size_t weight = 0;
  for (const auto& item : keyed) weight += item.first.extent().weight;
  work.spend(16 * weight);
  // std::stable_sort survives a comparison that throws, but it may not survive an inconsistent order (NaN).
  // So the merges are written out here.
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  Keyed merged(keyed.size());
  for (size_t width = 1; width < keyed.size(); width *= 2) {
    for (size_t at = 0; at < keyed.size(); at += 2 * width) {
      const size_t middle = std::min(at + width, keyed.size());
      const size_t end = std::min(at + 2 * width, keyed.size());
      size_t left = at;
      size_t right = middle;
      for (size_t out = at; out < end; ++out) {
        const bool take_right =
            left == middle || (right < end && less(keyed[right].first, keyed[left].first));
        merged[out] = std::move(keyed[take_right ? right++ : left++]);
      }
    }
    keyed.swap(merged);
  }
  if (reverse) std::reverse(keyed.begin(), keyed.end());
}

Value items_of(Keyed keyed) {
  std::vector<Value> out;
  out.reserve(keyed.size());
  for (auto& item : keyed) out.push_back(std::move(item.second));
  return Value::list(std::move(out));
}

// Returns a tuple of the item itself, of one attribute, or of several ("role,name").
Value sort_key(Work& work, const Value& item, const Value* attribute, bool case_sensitive) {
  std::vector<Value> keys;
  if (attribute == nullptr || attribute->is_none()) {
    keys.push_back(folded(item, case_sensitive));
  } else if (!attribute->is_string()) {
    keys.push_back(folded(get_path(work, item, *attribute), case_sensitive));
  } else {
    const std::string& names = attribute->string();
    for (size_t at = 0; at <= names.size();) {
      const size_t end = std::min(names.find(',', at), names.size());
      keys.push_back(folded(get_path(work, item, Value::of(names.substr(at, end - at))), case_sensitive));
      at = end + 1;
    }
  }
  return Value::list(std::move(keys), List::Kind::tuple);
}

Value sort(Work& work, const Value& input, const Arguments& arguments) {
  Keyed keyed;
  for (const Value& item : iterate(work, input)) {
    keyed.emplace_back(
        sort_key(work, item, arguments.find(2, "attribute"), arguments.flag(1, "case_sensitive")), item);
  }
  sort_by_keys(work, keyed, arguments.flag(0, "reverse"));
  return items_of(std::move(keyed));
}

Value dictsort(Work& work, const Value& input, const Arguments& arguments) {
  if (!input.is_mapping())
    throw TemplateError(fmt::format("dictsort wants a dict, not {}", input.type_name()));
  const Value* by = arguments.find(1, "by");
  const std::string how = by == nullptr ? "key" : to_text(*by);
  if (how != "key" && how != "value") throw TemplateError("dictsort: by is \"key\" or \"value\"");
  Keyed keyed;
  for (const auto& [key, value] : input.dict().items) {
    keyed.emplace_back(folded(how == "value" ? value : key, arguments.flag(0, "case_sensitive")),
                       Value::list({key, value}, List::Kind::tuple));
  }
  sort_by_keys(work, keyed, arguments.flag(2, "reverse"));
  return items_of(std::move(keyed));
}

Value unique(Work& work, const Value& input, const Arguments& arguments) {
  const Value* attribute = arguments.find(1, "attribute");
  std::vector<Value> out;
  std::vector<Value> keys;
  for (const Value& item : iterate(work, input)) {
    const Value subject =
        attribute == nullptr || attribute->is_none() ? item : get_path(work, item, *attribute);
    const Value key = folded(subject, arguments.flag(0, "case_sensitive"));
    work.spend(keys.size() + key.extent().weight);
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& seen) { return equal(seen, key); })) continue;
    keys.push_back(key);
    out.push_back(item);
  }
  return Value::list(std::move(out), List::Kind::generator);
}

// Returns one tuple (grouper, list) per key, in the order of the keys.
Value groupby(Work& work, const Value& input, const Arguments& arguments) {
  const Value& attribute = arguments.want(0, "attribute");
  const Value* fallback = arguments.find(1, "default");
  const bool case_sensitive = arguments.flag(2, "case_sensitive");
  Keyed keyed;
  std::vector<Value> pairs;  // {unchanged key, item}
  for (const Value& item : iterate(work, input)) {
    Value key = get_path(work, item, attribute);
    if (key.is_undefined() && fallback != nullptr) key = *fallback;
    keyed.emplace_back(folded(key, case_sensitive), Value::list({key, item}));
  }
  sort_by_keys(work, keyed, false);
  std::vector<Value> out;
  for (size_t at = 0; at < keyed.size();) {
    size_t end = at;
    std::vector<Value> items;
    for (; end < keyed.size() && equal(keyed[end].first, keyed[at].first); ++end)
      items.push_back(keyed[end].second.list().items[1]);
    Value group =
        Value::list({keyed[at].second.list().items[0], Value::list(std::move(items))}, List::Kind::tuple);
    group.list().is_group = true;
    out.push_back(std::move(group));
    at = end;
  }
  return Value::list(std::move(out));
}

// Implements batch(n), lists of n items, and slice(n), n lists of nearly equal size.
Value cut(Work& work, const Value& input, const Arguments& arguments, bool by_size) {
  const std::vector<Value> all = iterate(work, input);
  const int64_t number = arguments.want(0, by_size ? "linecount" : "slices").to_int();
  const Value* given = arguments.find(1, "fill_with");
  const bool fills = given != nullptr && !given->is_none();
  if (number <= 0) throw TemplateError("batch and slice want a number above 0");
  work.reserve(static_cast<size_t>(std::min<int64_t>(number, Work::kMaxText)) * sizeof(Value));
  const auto count = static_cast<size_t>(number);
  std::vector<Value> out;
  size_t at = 0;
  const size_t lists = by_size ? (all.size() + count - 1) / count : count;
  for (size_t i = 0; i < lists; ++i) {
    const size_t size =
        by_size ? std::min(count, all.size() - at) : all.size() / count + (i < all.size() % count ? 1 : 0);
    std::vector<Value> part(all.begin() + static_cast<std::ptrdiff_t>(at),
                            all.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (fills && by_size) part.resize(count, *given);
    if (fills && !by_size && i >= all.size() % count) part.push_back(*given);
    out.push_back(Value::list(std::move(part)));
  }
  return Value::list(std::move(out), List::Kind::generator);
}

Value extreme(Work& work, const Value& input, const Arguments& arguments, bool smallest) {
  const bool case_sensitive = arguments.flag(0, "case_sensitive");
  const Value* attribute = arguments.find(1, "attribute");
  Value best = Value::undefined("the sequence is empty");
  Value best_key;
  bool has_best = false;
  for (const Value& item : iterate(work, input)) {
    const Value key =
        folded(attribute == nullptr || attribute->is_none() ? item : get_path(work, item, *attribute),
               case_sensitive);
    work.spend(key.extent().weight);
    if (has_best && !(smallest ? less(key, best_key) : less(best_key, key))) continue;
    has_best = true;
    best = item;
    best_key = key;
  }
  return best;
}

}  // namespace

bool apply_group_filter(Work& work, std::string_view name, const Value& input, const Arguments& arguments,
                        Value& out) {
  if (name == "sort") {
    out = sort(work, input, arguments);
  } else if (name == "dictsort") {
    out = dictsort(work, input, arguments);
  } else if (name == "unique") {
    out = unique(work, input, arguments);
  } else if (name == "groupby") {
    out = groupby(work, input, arguments);
  } else if (name == "batch" || name == "slice") {
    out = cut(work, input, arguments, name == "batch");
  } else if (name == "min" || name == "max") {
    out = extreme(work, input, arguments, name == "min");
  } else {
    return false;
  }
  return true;
}

}  // namespace r1::jinja
