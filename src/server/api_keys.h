// server/api_keys.h: who may ask.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

class ApiKeys {
 public:
  ApiKeys() = default;  // every key is accepted, and none is needed
  // Reads a file with one key per line; blank lines and lines that begin with # are left out. Throws Error if
  // the file has no key, or a key has blanks in it.
  static ApiKeys load(const std::filesystem::path& file);

  // `authorization` is the header's value, "Bearer KEY". Returns the key's owner name, a digest of the key
  // ("" for no key), or no value if the key is not accepted. The time that this takes depends neither on the
  // keys nor on where they differ: digests of equal length are compared as a whole, with all keys.
  std::optional<std::string> owner_of(std::string_view authorization) const;
  bool any() const { return !digests_.empty(); }

 private:
  std::vector<std::string> digests_;
};

}  // namespace r1
