// server/etag.h: answers that a browser keeps and asks for again (RFC 9110, sections 8.8.3 and 13.1.2).
#pragma once

#include <string>
#include <string_view>

#include "server/http_server.h"

namespace r1 {

// Returns an entity tag of a body: its digest, in quotes.
std::string entity_tag(std::string_view body);

// Gives an answer of status 200 the headers ETag and Cache-Control: no-cache, so that a browser keeps it and asks
// each time whether it is still valid. If `if_none_match`, the header of that name, has the tag, the answer
// becomes 304 without a body.
ServerResponse revalidated(ServerResponse response, const std::string& tag, std::string_view if_none_match);

}  // namespace r1
