// base/sanitizer.h: tells whether the build uses AddressSanitizer (GCC and clang report it differently), and
// declares its macros for regions of memory that the program hands out itself.
//
//   R1_ADDRESS_SANITIZER           defined only if it does, for code that exists under AddressSanitizer only;
//                                  <sanitizer/asan_interface.h> is then included
//   kAddressSanitizer              the same as a constant, for tests that do only a part of their work where
//                                  everything is ten times slower
//   ASAN_(UN)POISON_MEMORY_REGION  as in that header; elsewhere they do nothing
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define R1_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define R1_ADDRESS_SANITIZER 1
#endif
#endif

#if defined(R1_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

namespace r1 {

#if defined(R1_ADDRESS_SANITIZER)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

}  // namespace r1
