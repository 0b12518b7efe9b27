#include "cli/ordered_output.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/pending_file.h"

namespace r1 {

bool has_journal(const std::string& output) {
  return output != "-" && !is_special_file(output);
}

void check_output(const std::string& output, std::initializer_list<std::string> inputs, bool resume) {
  if (resume && !has_journal(output))
    throw Error(fmt::format("--resume needs an output file; {} keeps no journal of finished rows",
                            output == "-" ? "standard output" : output));
  if (output == "-") return;
  check_replaceable(output);
  for (const std::string& input : inputs) {
    refuse_overwriting(input, output);
    if (has_journal(output)) refuse_overwriting(input, Journal::path_for(output).string());
  }
}

OrderedOutput::OrderedOutput(Journal::Job job, std::string what)
    : slots_(job.slots), output_(job.output.string()), resume_command_(job.resume_command) {
  if (!has_journal(output_)) {
    stream_.emplace(output_);
    return;
  }
  const bool resume = job.resume;
  journal_ = std::make_unique<Journal>(std::move(job));
  if (resume && journal_->finished() == 0) {
    write_stderr(fmt::format("r1: {}: no finished {} are there to go on with; this begins at the first row\n",
                             Journal::path_for(output_).string(), what));
  }
  notice_.emplace(std::move(what), slots_, " To go on: " + resume_command_);
  notice_->set_finished(finished());
}

OrderedOutput::~OrderedOutput() = default;

bool OrderedOutput::is_finished(int64_t slot) const {
  return journal_ && journal_->has(slot);
}

void OrderedOutput::settle(int64_t slot, std::string line) {
  R1_CHECK(lines_.emplace(slot, std::move(line)).second, "slot ", slot, " settled twice");
  if (stream_) write_ready();
}

void OrderedOutput::finish(int64_t slot, std::string line) {
  if (stream_) return settle(slot, std::move(line));
  try {
    journal_->append(slot, line);
  } catch (const Error& e) {
    fail_with_advice(e);
  }
  notice_->set_finished(finished());
}

void OrderedOutput::write_ready() {
  bool wrote = false;
  for (auto at = lines_.begin(); at != lines_.end() && at->first == next_; at = lines_.erase(at), ++next_) {
    stream_->write_line(at->second);
    wrote = true;
  }
  if (wrote) stream_->flush();
}

void OrderedOutput::write_file() {
  PendingFile pending(output_);
  FileWriter out(pending.path());
  for (int64_t slot = 0; slot < slots_; ++slot) {
    const auto settled = lines_.find(slot);
    out.write(settled != lines_.end() ? settled->second : journal_->line(slot));
    out.write("\n");
  }
  out.close();
  pending.commit();
}

void OrderedOutput::close() {
  if (stream_) {
    R1_CHECK(next_ == slots_, "rows left: ", slots_ - next_);
    return stream_->close();
  }
  try {
    write_file();
  } catch (const Error& e) {
    fail_with_advice(e);
  }
  notice_.reset();
  journal_->remove();
}

void OrderedOutput::fail_with_advice(const Error& e) const {
  if (finished() == 0) throw e;
  throw Error(fmt::format("{}; {} rows are finished and safe in {}. To go on: {}", e.what(), finished(),
                          journal_->path().string(), resume_command_));
}

}  // namespace r1
