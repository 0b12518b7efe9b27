#include "server/messages_error.h"

#include <fmt/format.h>

namespace r1 {

Json messages_error(const ApiError& error) {
  const int status = error.fields().status;
  const char* type = status == 401   ? "authentication_error"
                     : status == 403 ? "permission_error"
                     : status == 404 ? "not_found_error"
                     : status == 413 ? "request_too_large"
                     : status == 429 ? "rate_limit_error"
                     : status == 503 ? "overloaded_error"
                     : status >= 500 ? "api_error"
                                     : "invalid_request_error";
  Json inner = Json::object().set("type", type).set("message", error.what());
  if (!error.fields().param.empty()) inner.set("param", error.fields().param);
  return Json::object().set("type", "error").set("error", std::move(inner));
}

ServerResponse messages_error_response(const ApiError& error, const std::string& request_id) {
  Json body = messages_error(error);
  ServerResponse response{.status = error.fields().status, .body = body.set("request_id", request_id).dump()};
  response.headers.emplace_back("request-id", request_id);
  if (error.fields().retry_after_s > 0)
    response.headers.emplace_back("Retry-After", fmt::format("{}", error.fields().retry_after_s));
  return response;
}

}  // namespace r1
