// reward/answer_text.h: the answer inside what people and models write around it.
#pragma once

#include <optional>
#include <string_view>

namespace r1 {

// `text` without the white space and the wrappers around all of it, however they are nested: $...$, $$...$$,
// \(...\),
// \[...\], \boxed{...}, \fbox{...}, \text{...} and its relatives, **...**, and a full stop behind one of
// these (at most eight, one inside the other). A wrapper that holds only a part of the text ("$3$ or $4$")
// stays.
std::string_view unwrapped(std::string_view text);

// The inside of the last \boxed{...} (or \fbox{...}); nothing if there is none, or if its braces do not
// close.
std::optional<std::string_view> last_boxed(std::string_view text);

// The position behind the brace that closes the one at text[open]; npos if none does. \{ and \} are no
// braces.
size_t closing_brace(std::string_view text, size_t open);

}  // namespace r1
