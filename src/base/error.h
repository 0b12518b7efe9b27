// base/error.h: the two kinds of failure.
//
// Error is bad input. Its message is one line that says what was wrong, in which file, tensor, line or field,
// and what to do; the command line prints it and exits with 2. BrokenInvariant is a bug of this program;
// R1_CHECK raises it with the values.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace r1 {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& line) : std::runtime_error(line) {}
};

class BrokenInvariant : public std::logic_error {
 public:
  explicit BrokenInvariant(const std::string& what) : std::logic_error(what) {}
};

namespace detail {
template <class... Values>
[[noreturn, gnu::cold, gnu::noinline]] void check_failed(const char* file, int line, const char* condition,
                                                         const Values&... values) {
  std::ostringstream out;
  out << file << ":" << line << ": broken invariant: " << condition;
  if constexpr (sizeof...(values) > 0) {
    out << ": ";
    (out << ... << values);
  }
  throw BrokenInvariant(out.str());
}
}  // namespace detail

}  // namespace r1

// R1_CHECK(a == b, "got ", a, " want ", b) throws BrokenInvariant, with the values in its message, if a != b.
#define R1_CHECK(condition, ...)                                                             \
  do {                                                                                       \
    if (!(condition)) [[unlikely]]                                                           \
      ::r1::detail::check_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (0)
