// server/api_keys.h: who may ask, and how much.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/quotas.h"

namespace r1 {

class ApiKeys {
 public:
  ApiKeys() = default;  // every key is accepted, and none is needed
  // Reads a file with one key per line; blank lines and lines that begin with # are left out. Behind a key may
  // be its limits:
  //   KEY requests_per_minute=60 tokens_per_minute=20000 tokens_per_day=1000000
  // Throws Error "FILE:LINE: reason".
  static ApiKeys load(const std::filesystem::path& file);

  // `authorization` is the header's value, "Bearer KEY". Returns the key's owner name, a digest of the key
  // ("" for no key), or no value if the key is not accepted. The time that this takes depends neither on the
  // keys nor on where they differ: digests of equal length are compared as a whole, with all keys.
  std::optional<std::string> owner_of(std::string_view authorization) const;
  bool any() const { return !digests_.empty(); }
  const std::map<std::string, KeyQuota>& quotas() const { return quotas_; }  // by owner

 private:
  std::vector<std::string> digests_;
  std::map<std::string, KeyQuota> quotas_;
};

}  // namespace r1
