// cli/ordered_output.h: rows that end in any order, written in order.
//
// An output file is never touched before all its rows are finished: they are kept in OUTPUT.journal
// (formats/journal.h) as they end, then written in order to a temporary file, which is renamed to OUTPUT. Standard
// output, a pipe and a device get each row as soon as all before it are finished; there is no journal then.
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

// True if `output` is a regular file or will be one: it gets a journal.
bool has_journal(const std::string& output);

// Throws Error if `output` cannot be written, if it or its journal is one of the `inputs`, or if --resume is given
// for an output that has no journal. Called before anything is loaded.
void check_output(const std::string& output, std::initializer_list<std::string> inputs, bool resume);

class OrderedOutput {
 public:
  // job.output may be "-". `what`: what a row is, for messages: "samples".
  OrderedOutput(Journal::Job job, std::string what);
  ~OrderedOutput();

  // A slot that an earlier, interrupted command finished.
  bool is_finished(int64_t slot) const;
  int64_t finished() const { return journal_ ? journal_->finished() : 0; }  // slots that the journal has
  std::string line(int64_t slot) const { return journal_->line(slot); }     // of a finished one
  // A row that needs no work: it is not journaled.
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
