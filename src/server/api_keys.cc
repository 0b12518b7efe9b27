#include "server/api_keys.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

namespace r1 {
namespace {

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
    if (line.find_first_of(" \t") != std::string_view::npos)
      throw Error(fmt::format("{}:{}: the key has a blank in it; a line is one key", file.string(), number));
    keys.digests_.push_back(sha256_hex(line));
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
  return known ? std::optional(digest.substr(0, 16)) : std::nullopt;
}

}  // namespace r1
