#include "server/etag.h"

#include "base/hash.h"

namespace r1 {

std::string entity_tag(std::string_view body) {
  constexpr size_t kDigits = 32;
  return "\"" + sha256_hex(body).substr(0, kDigits) + "\"";
}

ServerResponse revalidated(ServerResponse response, const std::string& tag, std::string_view if_none_match) {
  if (response.status != 200) return response;
  response.headers.emplace_back("ETag", tag);
  response.headers.emplace_back("Cache-Control", "no-cache");
  // The header is "*" or a list of tags, of which weak ones have W/ in front. A tag of ours occurs in no other.
  if (if_none_match == "*" || if_none_match.find(tag) != std::string_view::npos) {
    response.status = 304;
    response.body.clear();
  }
  return response;
}

}  // namespace r1
