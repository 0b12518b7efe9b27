// formats/journal.h: finished rows of a long job, kept beside its output until all rows are finished.
//
// OUTPUT.journal is JSON Lines. Its first line, the header, says which job wrote it:
//   {"r1_journal": 1, "command": "r1 generate", "input": SHA-256, "--temperature": 0.7, ...}
// Every further line is a finished row, exactly as it will stand in OUTPUT, in the order in which rows ended.
// A row is handed to the system as soon as it ends, so it outlives the process: a killed process loses only
// the rows that it was working on. A line without its newline, or one that is no row of the job (after a loss
// of power), is dropped with all lines after it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/locked_file.h"
#include "formats/json.h"

namespace r1 {

class Journal {
 public:
  struct Job {
    std::filesystem::path output;
    // The inputs that determine the rows, as an object of scalars. Errors name its fields, so they are words
    // of the command line ("--seed") or plain nouns ("input").
    Json identity = Json::object();
    int64_t slots = 0;  // rows of the whole job, numbered in their order in the output
    // The slot of a finished row; throws Error or returns -1 if it is none of this job's rows.
    std::function<int64_t(const Json& row)> slot_of;
    bool resume = false;
    std::string resume_command;  // what a user types to go on
  };

  // Opens OUTPUT.journal, or creates it. Throws Error if another process writes it, if it is not a journal,
  // if it has finished rows and `resume` is false, or if `resume` is true and its job is another one; the
  // message says which field differs.
  explicit Journal(Job job);
  // Deletes the file if no row is in it.
  ~Journal();

  // An integer of the interrupted job's identity; nothing if there is no journal.
  static std::optional<int64_t> header_integer(const std::filesystem::path& output, std::string_view field);
  static std::filesystem::path path_for(const std::filesystem::path& output);
  const std::filesystem::path& path() const { return file_.path(); }
  int64_t finished() const { return finished_; }
  bool has(int64_t slot) const { return offsets_[static_cast<size_t>(slot)] >= 0; }
  // `line` has no newline. Each slot is appended once.
  void append(int64_t slot, std::string_view line);
  std::string line(int64_t slot) const;  // of a finished slot
  void remove();

 private:
  void begin();
  void read();
  void check_identity(const Json& header) const;
  int64_t read_rows(std::string_view text, int64_t offset);
  void keep(int64_t slot, int64_t offset, int64_t bytes);

  Job job_;
  LockedFile file_;
  std::vector<int64_t> offsets_;  // by slot; -1: not finished
  std::vector<uint32_t> bytes_;   // of the line, by slot
  int64_t finished_ = 0;
};

}  // namespace r1
