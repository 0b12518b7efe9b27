// cli/printable.h: makes untrusted text safe for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace r1 {

// Returns `text` with control characters made visible, so that no text of a model can move the cursor, change
// the title or write to the clipboard: ESC is shown as U+241B, DEL as U+2421, C1 controls as U+FFFD. Newlines
// and tabs stay. Bytes that are not UTF-8 become U+FFFD.
std::string printable(std::string_view text);

}  // namespace r1
