// reward/http_post.h: sends one HTTP request with a JSON body, within a time limit.
#pragma once

#include <atomic>
#include <string>

#include "reward/http_scorer.h"

namespace r1 {

// Returns the body of the response. Throws Error unless a response of status 200 comes within `timeout_s`.
// Once `stop` is set, throws Error within a tenth of a second.
std::string http_post(const HttpAddress& to, const std::string& body, double timeout_s,
                      const std::atomic<bool>& stop);

}  // namespace r1
