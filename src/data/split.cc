#include "data/split.h"

#include <charconv>
#include <cstdint>
#include <string>

#include "base/hash.h"

namespace r1 {

bool is_held_out_content(std::string_view content) {
  const std::string digest = sha256_hex(content);
  uint32_t head = 0;
  std::from_chars(digest.data(), digest.data() + 8, head, 16);
  return head % 20 == 0;
}

}  // namespace r1
