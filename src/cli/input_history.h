// cli/input_history.h: the lines that a user typed, kept from one conversation to the next.
//
// A text file with one JSON string per line, oldest first. It is appended to line by line, so simultaneous
// conversations lose nothing. Only its owner can read it (mode 0600).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace r1 {

// Returns $XDG_STATE_HOME/r1/history, else ~/.local/state/r1/history; "" if the environment names no home.
std::filesystem::path history_path();

// Returns the last kHistoryLines entries; none if there is no file. Lines that are not a JSON string are
// skipped. A file that has grown to twice that number is shortened. Throws Error.
std::vector<std::string> load_history(const std::filesystem::path& path);
inline constexpr size_t kHistoryLines = 1000;

// Makes the file and its folders if they are missing. Throws Error.
void append_history(const std::filesystem::path& path, std::string_view text);

}  // namespace r1
