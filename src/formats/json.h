// formats/json.h: reads every JSON that we did not write ourselves, and writes ours (RFC 8259).
//
// Stricter than the RFC where leniency hides mistakes: duplicate keys, invalid UTF-8, lone surrogates,
// nesting beyond kMaxDepth and anything after the value are refused. An integer that fits int64 is an
// integer; every other number is a double (so 1e30 written out in digits, as in many tokenizer_config.json,
// is a number). A parsed number keeps its text for literal() and dump(): 0.10 and 1e400 pass through as they
// were written.
//
// A parsed value remembers where it came from, so that an accessor's error names the file and the field:
//   "config.json: rope_scaling.factor is a string; it must be a number"
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace r1 {

class Json {
 public:
  enum class Kind : uint8_t { null, boolean, integer, number, string, array, object };
  using Member = std::pair<std::string, Json>;

  Json();  // null
  Json(std::nullptr_t);
  Json(bool value);
  Json(int value);
  Json(long value);
  Json(long long value);
  Json(unsigned value);
  Json(unsigned long value);  // above int64's range: a double
  Json(double value);
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();

  static Json array();
  static Json object();
  template <class Range>
  static Json array_of(const Range& values) {
    Json out = array();
    for (const auto& value : values) out.push_back(Json(value));
    return out;
  }

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::null; }
  bool is_bool() const { return kind() == Kind::boolean; }
  bool is_integer() const { return kind() == Kind::integer; }
  bool is_number() const { return kind() == Kind::integer || kind() == Kind::number; }
  bool is_string() const { return kind() == Kind::string; }
  bool is_array() const { return kind() == Kind::array; }
  bool is_object() const { return kind() == Kind::object; }

  // Each throws Error if the value is of another kind. number() takes integers too, and throws if the number
  // is beyond a double's range. integer() does not take 4096.0.
  bool boolean() const;
  int64_t integer() const;
  double number() const;
  const std::string& string() const;
  // A parsed number as written in its document ("1.0", "1e3", "12345678901234567890"); "" for any other
  // value.
  std::string_view number_text() const;
  std::string literal() const;                 // of a number: as it was written, or as dump() writes it
  const std::vector<Json>& items() const;      // of an array
  const std::vector<Member>& members() const;  // of an object, in the file's order
  size_t size() const;                         // of an array or an object

  // A field of an object. If it is missing, at() throws (and names the nearest key) and find() returns
  // nullptr.
  const Json& at(std::string_view key) const;
  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  const Json& at(size_t index) const;  // of an array

  // at(key), typed. The _or forms return the fallback if the field is missing or null; a field of the wrong
  // kind still throws.
  bool get_bool(std::string_view key) const { return at(key).boolean(); }
  int64_t get_int(std::string_view key) const { return at(key).integer(); }
  double get_number(std::string_view key) const { return at(key).number(); }
  const std::string& get_string(std::string_view key) const { return at(key).string(); }
  bool get_bool_or(std::string_view key, bool fallback) const;
  int64_t get_int_or(std::string_view key, int64_t fallback) const;
  double get_number_or(std::string_view key, double fallback) const;
  std::string get_string_or(std::string_view key, std::string_view fallback) const;

  // Throws Error "SOURCE: FIELD REASON", for callers that find a well-formed value unacceptable:
  //   config.at("hidden_size").fail("is 0; it must be at least 1")
  [[noreturn]] void fail(std::string_view reason) const;
  std::string source() const;  // the name given to parse_json; "" for a value built by hand
  std::string path() const;    // "rope_scaling.factor", "layers[3].name"; "" for the whole document

  // Builders. set() replaces the field if it exists, and keeps its place.
  Json& set(std::string_view key, Json value);
  Json& push_back(Json value);

  // Deterministic. With indent 0 the text is one line without spaces; otherwise it has one member per line,
  // and arrays of scalars on one line. Parsed numbers are written as they were read. Other doubles are the
  // shortest text that reads back to the same bits, and always read back as doubles. NaN and infinities
  // become null, and invalid UTF-8 becomes U+FFFD.
  std::string dump(int indent = 0) const;

  // True if the values are the same: members in any order; integer 1 and number 1.0 differ; numbers that are
  // no integers are compared as doubles. Their origin does not matter.
  bool operator==(const Json& other) const;

 private:
  friend class JsonParser;
  struct Object;
  struct Origin;
  using Value = std::variant<std::monostate, bool, int64_t, double, std::unique_ptr<std::string>,
                             std::unique_ptr<std::vector<Json>>, std::unique_ptr<Object>>;
  const Object& fields() const;
  [[noreturn]] void wrong_kind(std::string_view wanted) const;

  Value value_;
  std::shared_ptr<const Origin> origin_;  // none: built by hand
  uint32_t offset_ = 0;                   // in the origin's text
};

inline constexpr int kMaxJsonDepth = 128;
inline constexpr size_t kMaxJsonBytes = size_t{1} << 30;
// Bounds the memory: 40 bytes per value, plus its strings.
inline constexpr size_t kMaxJsonValues = size_t{1} << 24;

// Throws Error "source_name: offset N: reason". N counts bytes from 0; for a duplicate key, one of the two
// values starts there.
Json parse_json(std::string_view text, std::string source_name);
Json read_json(const std::filesystem::path& path);

}  // namespace r1
