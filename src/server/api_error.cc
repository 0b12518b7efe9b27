#include "server/api_error.h"

#include <fmt/format.h>

#include <string_view>

#include "formats/json.h"

namespace r1 {

ApiError api_error_of(const Error& error, const std::string& param) {
  if (const auto* known = dynamic_cast<const ApiError*>(&error)) return *known;
  std::string message = error.what();
  const std::string source = std::string(kRequestSource) + ": ";
  if (!message.starts_with(source)) return {message, {.param = param}};
  message.erase(0, source.size());
  if (message.starts_with("offset ")) return {"the body is not JSON: " + message, {}};
  // "field NAME is missing" is said of the whole body.
  constexpr std::string_view kMissing = "field ";
  const size_t begin = message.starts_with(kMissing) ? kMissing.size() : 0;
  return {message, {.param = message.substr(begin, message.find(' ', begin) - begin)}};
}

std::string error_json(const ApiError& error) {
  const ApiError::Fields& f = error.fields();
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  const char* type = f.status == 401   ? "authentication_error"
                     : f.status == 403 ? "permission_error"
                     : f.status == 404 ? "not_found_error"
                     : f.status == 429 ? "rate_limit_error"
                     : f.status >= 500 ? "server_error"
                                       : "invalid_request_error";
  Json body = Json::object();
  body.set("message", error.what()).set("type", type);
  body.set("param", text_or_null(f.param)).set("code", text_or_null(f.code));
  return Json::object().set("error", std::move(body)).dump();
}

ServerResponse error_response(const ApiError& error) {
  ServerResponse response{.status = error.fields().status, .body = error_json(error)};
  if (error.fields().retry_after_s > 0)
    response.headers.emplace_back("Retry-After", fmt::format("{}", error.fields().retry_after_s));
  return response;
}

}  // namespace r1
