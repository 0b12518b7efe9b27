// Builds GGUF files byte by byte, lies included.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace r1 {

class GgufBuilder {
 public:
  GgufBuilder& key(std::string_view name, GgufKind kind) {
    ++keys_;
    put_text(kv_, name);
    put<uint32_t>(kv_, static_cast<uint32_t>(kind));
    return *this;
  }
  // The last key's value, or a part of it.
  template <class T>
  GgufBuilder& raw(T value) {
    put<T>(kv_, value);
    return *this;
  }
  GgufBuilder& text(std::string_view value) {
    put_text(kv_, value);
    return *this;
  }
  GgufBuilder& set(std::string_view name, std::string_view value) {
    return key(name, GgufKind::string).text(value);
  }
  GgufBuilder& set(std::string_view name, const char* value) { return set(name, std::string_view(value)); }
  GgufBuilder& set(std::string_view name, uint32_t value) {
    return key(name, GgufKind::u32).raw<uint32_t>(value);
  }
  GgufBuilder& set(std::string_view name, int value) { return set(name, static_cast<uint32_t>(value)); }
  GgufBuilder& set(std::string_view name, float value) { return key(name, GgufKind::f32).raw<float>(value); }
  GgufBuilder& set(std::string_view name, bool value) {
    return key(name, GgufKind::boolean).raw<uint8_t>(value);
  }
  GgufBuilder& set(std::string_view name, const std::vector<std::string>& values) {
    array(name, GgufKind::string, values.size());
    for (const std::string& value : values) text(value);
    return *this;
  }
  GgufBuilder& set(std::string_view name, const std::vector<int32_t>& values) {
    array(name, GgufKind::i32, values.size());
    for (const int32_t value : values) raw<int32_t>(value);
    return *this;
  }
  GgufBuilder& set(std::string_view name, const std::vector<float>& values) {
    array(name, GgufKind::f32, values.size());
    for (const float value : values) raw<float>(value);
    return *this;
  }
  GgufBuilder& array(std::string_view name, GgufKind element, uint64_t count) {
    key(name, GgufKind::array);
    return raw<uint32_t>(static_cast<uint32_t>(element)).raw<uint64_t>(count);
  }

  // `dims` as in a file: the contiguous one first.
  GgufBuilder& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t offset) {
    ++tensors_;
    put_text(infos_, name);
    put<uint32_t>(infos_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) put<uint64_t>(infos_, dim);
    put<uint32_t>(infos_, type);
    put<uint64_t>(infos_, offset);
    return *this;
  }
  GgufBuilder& data(std::string_view bytes) {
    data_ += bytes;
    return *this;
  }
  GgufBuilder& version(uint32_t version) {
    version_ = version;
    return *this;
  }
  GgufBuilder& says_tensors(uint64_t count) {
    tensors_ = count;
    return *this;
  }
  GgufBuilder& says_keys(uint64_t count) {
    keys_ = count;
    return *this;
  }

  std::string file(size_t alignment = 32) const {
    std::string out = "GGUF";
    put<uint32_t>(out, version_);
    put<uint64_t>(out, tensors_);
    put<uint64_t>(out, keys_);
    out += kv_ + infos_;
    if (!data_.empty()) out.append((alignment - out.size() % alignment) % alignment, '\0');
    return out + data_;
  }

 private:
  template <class T>
  static void put(std::string& out, T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out.append(bytes, sizeof(T));
  }
  static void put_text(std::string& out, std::string_view text) {
    put<uint64_t>(out, text.size());
    out += text;
  }

  uint32_t version_ = 3;
  uint64_t tensors_ = 0, keys_ = 0;
  std::string kv_, infos_, data_;
};

}  // namespace r1
