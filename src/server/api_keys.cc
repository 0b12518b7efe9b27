#include "server/api_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "formats/shown.h"

namespace r1 {
namespace {

constexpr size_t kOwnerDigits = 16;  // of a key's digest

// Reads NAME=NUMBER into a quota. Returns why it cannot.
std::string read_limit(std::string_view word, KeyQuota& quota) {
  const size_t sign = word.find('=');
  const std::string_view name = word.substr(0, sign);
  int64_t* const limit = name == "requests_per_minute" ? &quota.requests_per_minute
                         : name == "tokens_per_minute" ? &quota.tokens_per_minute
                         : name == "tokens_per_day"    ? &quota.tokens_per_day
                                                       : nullptr;
  if (sign == std::string_view::npos || limit == nullptr) {
    return fmt::format(
        "{} is no limit: behind a key may be requests_per_minute=N, tokens_per_minute=N and tokens_per_day=N",
        shown(word));
  }
  if (*limit != 0) return fmt::format("{} is given twice", name);
  const std::string_view number = word.substr(sign + 1);
  const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), *limit);
  constexpr int64_t kMost = 1'000'000'000'000;
  if (problem != std::errc() || end != number.data() + number.size() || *limit < 1 || *limit > kMost)
    return fmt::format("{} is {}; it must be a whole number between 1 and {}", name, shown(number), kMost);
  return {};
}

// True if the digests are equal. Every byte is looked at.
bool equal_digests(std::string_view a, std::string_view b) {
  unsigned differences = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i)
    differences |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  return differences == 0;
}

}  // namespace

ApiKeys ApiKeys::load(const std::filesystem::path& file) {
  ApiKeys keys;
  const std::string text = read_file(file);
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trim(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.empty() || line.starts_with('#')) continue;
    const std::string_view key = line.substr(0, line.find_first_of(" \t"));
    const std::string digest = sha256_hex(key);
    KeyQuota quota;
    for (std::string_view rest = trim(line.substr(key.size())); !rest.empty();) {
      const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
      rest = trim(rest.substr(word.size()));
      const std::string why = read_limit(word, quota);
      if (!why.empty()) throw Error(fmt::format("{}:{}: {}", file.string(), number, why));
    }
    if (std::ranges::find(keys.digests_, digest) != keys.digests_.end())
      throw Error(fmt::format("{}:{}: the key is in an earlier line, too", file.string(), number));
    keys.digests_.push_back(digest);
    keys.quotas_[digest.substr(0, kOwnerDigits)] = quota;
  }
  if (keys.digests_.empty()) throw Error(file.string() + ": has no key; write one per line");
  return keys;
}

std::optional<std::string> ApiKeys::owner_of(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  const bool has_scheme = equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme);
  const std::string_view key = has_scheme ? trim(authorization.substr(kScheme.size())) : std::string_view();
  if (key.empty() && digests_.empty()) return "";
  const std::string digest = sha256_hex(key);
  bool known = digests_.empty();
  for (const std::string& other : digests_) known = equal_digests(digest, other) || known;
  return known ? std::optional(digest.substr(0, kOwnerDigits)) : std::nullopt;
}

}  // namespace r1
