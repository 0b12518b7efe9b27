// cli/ordered_output.h: writes rows in order that finish in any order.
//
// An output file is not touched until all its rows are finished. Finished rows are kept in OUTPUT.journal
// (formats/journal.h), then written in order to a temporary file, which is renamed to OUTPUT. For standard
// output, a pipe or a device there is no journal: each row is written as soon as all rows before it are
// finished.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "formats/journal.h"

namespace r1 {

// Reports whether `output` gets a journal: it is a regular file or will be one.
bool has_journal(const std::string& output);

// Throws Error if `output` cannot be written, if it or its journal is one of the `inputs`, or if --resume is
// given for an output that has no journal. Called before anything is loaded.
void check_output(const std::string& output, std::initializer_list<std::string> inputs, bool resume);

class OrderedOutput {
 public:
  // job.output may be "-". `what` names the rows in messages: "samples".
  OrderedOutput(Journal::Job job, std::string what);
  ~OrderedOutput();

  // Reports whether an earlier, interrupted command finished the slot.
  bool is_finished(int64_t slot) const;
  int64_t finished() const { return journal_ ? journal_->finished() : 0; }  // slots that the journal has
  std::string line(int64_t slot) const { return journal_->line(slot); }     // of a finished one
  // Sets a row that needs no work. It is not journaled.
  void settle(int64_t slot, std::string line);
  void finish(int64_t slot, std::string line);
  // Writes OUTPUT. Every slot must be settled or finished.
  void close();

 private:
  void write_ready();
  void write_file();
  [[noreturn]] void fail_with_advice(const Error& e) const;

  int64_t slots_;
  std::string output_, resume_command_;
  std::optional<RowOutput> stream_;
  std::unique_ptr<Journal> journal_;
  std::optional<InterruptNotice> notice_;
  std::map<int64_t, std::string> lines_;  // settled, or (stream) finished before their turn
  int64_t next_ = 0;                      // stream: the first slot that is not written
};

}  // namespace r1
