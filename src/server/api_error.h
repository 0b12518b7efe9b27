// server/api_error.h: errors in the shape of OpenAI's API:
//   {"error": {"message", "type", "param", "code"}}
#pragma once

#include <string>

#include "base/error.h"
#include "server/http_server.h"

namespace r1 {

class ApiError : public Error {
 public:
  struct Fields {
    int status = 400;
    std::string param = {};     // the field of the request; "": null
    std::string code = {};      // "": null
    int64_t retry_after_s = 0;  // 0: no Retry-After header
  };
  ApiError(const std::string& message, Fields fields) : Error(message), fields_(std::move(fields)) {}
  const Fields& fields() const { return fields_; }

 private:
  Fields fields_;
};

// The name that parse_json() is given for a request's body, so that errors begin with it.
inline constexpr const char* kRequestSource = "request";

// Returns an error about a request as an ApiError: itself if it is one; otherwise 400, with the field that the
// message names ("request: messages[0].role is a number; ...") as param, or `param` if it names none.
ApiError api_error_of(const Error& error, const std::string& param = {});

// Returns {"message", "type", "param", "code"}.
std::string error_json(const ApiError& error);
ServerResponse error_response(const ApiError& error);

}  // namespace r1
