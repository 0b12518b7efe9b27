// server/url_text.h: the parts of a request's target (RFC 3986).
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace r1 {

// Replaces each %XX by its byte. A % without two hexadecimal digits stays as it is.
std::string percent_decoded(std::string_view text);

// Reads "name=value&name=value", both percent-encoded. A name without "=" has the value "". Throws ApiError with
// status 400 if a name is given twice.
std::map<std::string, std::string> query_parameters(std::string_view query);

}  // namespace r1
