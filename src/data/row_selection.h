// data/row_selection.h: selects the rows of data files that are used.
//
//   [data] split = "all"         or "train", "held_out": the side to which a hash of the question assigns a row
//          held_out = 0.05       share of the questions that are held out
//          limit = 0             number of rows that are used, from the front of all files; 0: all
//          deduplicate = true    only the first row with the same content is used
//
// White space is ignored: texts that differ only in white space are the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>

#include "formats/config_file.h"

namespace r1 {

struct RowSelection {
  enum class Side : uint8_t { all, train, held_out } side = Side::all;
  double held_out = 0.05;
  int64_t limit = 0;
  bool deduplicate = true;
};

// Reads the keys above. Throws Error that names the key.
RowSelection read_row_selection(ConfigFile& file);

// Returns true if the question belongs to the share that is held out.
bool is_held_out_question(std::string_view question, double share);

// Chooses among the rows of all files, which it is given in order.
class RowChooser {
 public:
  explicit RowChooser(const RowSelection& selection) : selection_(selection) {}

  enum class Choice : uint8_t { use, duplicate, other_side };
  // Decides about a row and remembers its content. `question` determines the side; rows with equal `content`
  // are duplicates.
  Choice choose(std::string_view question, std::string_view content);

 private:
  RowSelection selection_;
  std::unordered_set<std::string> seen_;  // hashes of the contents that were used
};

// Returns the text with one space for each run of white space and none at its ends.
std::string spaced_once(std::string_view text);

}  // namespace r1
