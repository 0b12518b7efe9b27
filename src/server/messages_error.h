// server/messages_error.h: errors in the form of Anthropic's API:
//   {"type": "error", "error": {"type", "message"}, "request_id"}
#pragma once

#include <string>

#include "formats/json.h"
#include "server/api_error.h"
#include "server/http_server.h"

namespace r1 {

Json messages_error(const ApiError& error);
ServerResponse messages_error_response(const ApiError& error, const std::string& request_id);

}  // namespace r1
