// server/stop_strings.h: ends a text at the first stop string, and holds back what may become one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace r1 {

// Takes text in pieces of any size. The result does not depend on how the text is cut: the stop string that is
// complete first counts, and of those that are complete at the same byte, the longest.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Returns the text that is certain to come before any stop string. Nothing more comes after a stop string.
  std::string feed(std::string_view text);
  std::string flush();  // the text has ended

  bool found() const { return found_ != nullptr; }
  const std::string& which() const { return *found_; }

 private:
  std::vector<std::string> stops_;
  const std::string* found_ = nullptr;
  std::string held_;
};

}  // namespace r1
