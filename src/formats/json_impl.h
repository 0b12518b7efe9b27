// formats/json_impl.h: shared by the .cc files of Json; private to them.
#pragma once

#include <span>

#include "formats/json.h"

namespace r1 {

struct Json::Object {
  std::vector<Member> members;  // the file's order
  std::vector<uint32_t>
      sorted;  // members' indices in key order; empty (linear search) if they are few or have changed since
};

// A parsed document's text is kept while any of its values lives. A value stores only its offset; its path is
// worked out from the text when an error needs it.
struct Json::Origin {
  std::string name;
  std::string text;   // followed by simdjson's padding
  size_t length = 0;  // without the padding
};

inline constexpr size_t kIndexedMembers = 16;  // from here on a sorted index beats a linear search

// Indices of `members` in key order.
std::vector<uint32_t> sorted_by_key(std::span<const Json::Member> members);

// The field that starts at `offset` of a well-formed text: "a.b[3]".
std::string json_path_at(std::string_view text, size_t offset);

// Bytes of the well-formed UTF-8 sequence at text[i] (no overlong forms, no surrogates, at most U+10FFFF); 0
// if there is none.
size_t utf8_length(std::string_view text, size_t i);

}  // namespace r1
