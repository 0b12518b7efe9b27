#include "data/row_selection.h"

#include <charconv>

#include "base/hash.h"

namespace r1 {
bool is_held_out_question(std::string_view question, double share) {
  const std::string digest = sha256_hex(spaced_once(question));
  uint32_t head = 0;
  std::from_chars(digest.data(), digest.data() + 8, head, 16);
  return static_cast<double>(head) < share * 0x1p32;
}

std::string spaced_once(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    const bool is_space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (!is_space && space && !out.empty()) out += ' ';
    if (!is_space) out += c;
    space = is_space;
  }
  return out;
}

RowSelection read_row_selection(ConfigFile& file) {
  RowSelection s;
  const std::string side = file.choice_or("data.split", "all", {"all", "train", "held_out"});
  s.side = side == "all"     ? RowSelection::Side::all
           : side == "train" ? RowSelection::Side::train
                             : RowSelection::Side::held_out;
  s.held_out = file.number_or("data.held_out", s.held_out, 0, 1);
  s.limit = file.integer_or("data.limit", s.limit, 0, int64_t{1} << 31);
  s.deduplicate = file.boolean_or("data.deduplicate", s.deduplicate);
  return s;
}

RowChooser::Choice RowChooser::choose(std::string_view question, std::string_view content) {
  constexpr size_t kHashDigits = 32;
  if (selection_.deduplicate && !seen_.insert(sha256_hex(spaced_once(content)).substr(0, kHashDigits)).second)
    return Choice::duplicate;
  const bool held_out = is_held_out_question(question, selection_.held_out);
  if (selection_.side != RowSelection::Side::all &&
      held_out != (selection_.side == RowSelection::Side::held_out))
    return Choice::other_side;
  return Choice::use;
}

}  // namespace r1
