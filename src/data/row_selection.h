// data/row_selection.h: which rows of data files are used.
//
//   [data] split = "all"         or "train", "held_out": the side that a hash of the question gives
//          held_out = 0.05       share of the questions that are held out
//          limit = 0             rows that are used, the first ones of all files; 0: all
//          deduplicate = true    of rows with the same content, only the first is used
//
// White space does not count: texts that differ in it alone are the same.
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

// Reads the keys above. Throws Error at the key.
RowSelection read_row_selection(ConfigFile& file);

// True if the question is among the share that is held out.
bool is_held_out_question(std::string_view question, double share);

// Takes the rows of all files in order.
class RowChooser {
 public:
  explicit RowChooser(const RowSelection& selection) : selection_(selection) {}

  enum class Choice : uint8_t { use, duplicate, other_side };
  // `question` decides the side; `content` is all that a duplicate repeats. A row that is used is remembered.
  Choice choose(std::string_view question, std::string_view content);

 private:
  RowSelection selection_;
  std::unordered_set<std::string> seen_;  // hashes of contents
};

// The text with one space for each run of white space, and none at its ends.
std::string spaced_once(std::string_view text);

}  // namespace r1
