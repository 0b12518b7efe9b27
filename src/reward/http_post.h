// reward/http_post.h: one HTTP request with a JSON body, in the time that it is given.
#pragma once

#include <atomic>
#include <string>

#include "reward/http_scorer.h"

namespace r1 {

// Returns the body of the response. Throws Error for everything but a response of status 200 within `timeout_s`, and
// within a tenth of a second once `stop` is set.
std::string http_post(const HttpAddress& to, const std::string& body, double timeout_s,
                      const std::atomic<bool>& stop);

}  // namespace r1
