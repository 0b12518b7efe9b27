// base/sanitizer.h: whether AddressSanitizer watches this build (GCC and clang say so in different words),
// and its word on regions of memory that the program hands out itself.
//
//   R1_ADDRESS_SANITIZER          defined where it does: for code that exists under it alone;
//   <sanitizer/asan_interface.h> is
//                                 included then
//   kAddressSanitizer             the same as a constant: for tests that do a part of their work where all is
//   ten times slower ASAN_(UN)POISON_MEMORY_REGION from that header; nothing elsewhere
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
