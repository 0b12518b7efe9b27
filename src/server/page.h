// server/page.h: the page of `r1 serve`: files in the program, at / and below /page/.
//
// The page asks this server alone. Its content security policy says so, and allows neither inline scripts and
// styles nor anything that makes HTML of a text. The files hold nothing of a person's, so they need no API key:
// the page asks for the key and sends it with each request of the API.
#pragma once

#include <string_view>

#include "server/http_server.h"

namespace r1 {

// True for / and for everything below /page/.
bool is_page_target(std::string_view target);

// Answers a request whose target is_page_target. Throws ApiError: 404 for a file that is not there, 405 for a
// method other than GET.
ServerResponse page_response(const ServerRequest& request);

}  // namespace r1
