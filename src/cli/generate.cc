// cli/generate.cc: `r1 generate`: offline batches.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "cli/bounds.h"
#include "cli/common.h"
#include "cli/constraints.h"
#include "cli/generate_rows.h"
#include "cli/job_identity.h"
#include "cli/logprobs.h"
#include "cli/ordered_output.h"
#include "cli/progress.h"

namespace r1 {
namespace {

// Returns the seconds since 1970 on the local clock, which a template's strftime_now shows.
int64_t local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return static_cast<int64_t>(now) + local.tm_gmtoff;
}

class OfflineBatch {
 public:
  OfflineBatch(const GenerateOptions& options, const SamplingModel& model)
      : options_(options),
        model_(model),
        constraints_(model),
        format_(logprob_format(options.logprob_format, options.logprobs)) {}

  void read() {
    Request base = base_request(options_.sampling, model_.sampling, model_.stop_tokens, model_.max_tokens);
    base.samples = options_.samples;
    base.constraint = constraints_.of_flags(options_.grammar);
    JsonlReader reader(input_path(options_.input));
    // A resumed job keeps the date on which it began.
    if (options_.resume) begun_ = Journal::header_integer(options_.output, kBegun);
    if (!begun_) begun_ = local_time();
    rows_ = read_generate_rows(reader, model_, base, constraints_, *begun_);
    if (has_journal(options_.output)) input_sha256_ = reader.content_sha256();
    for (const GenerateRow& row : rows_) {
      first_slot_.push_back(slots_);
      slots_ += row.rows();
    }
  }

  int run() {
    OrderedOutput out(job(), "samples");
    std::set<int64_t> bad;  // rows
    for (const GenerateRow& row : rows_) {
      if (row.error.empty()) continue;
      bad.insert(row.row);
      out.settle(slot(row, 0), error_line(row, row.error));
    }
    sample(out, bad);
    out.close();
    return status_of_rows(std::ssize(bad), std::ssize(rows_));
  }

 private:
  static constexpr const char* kBegun = "begun";

  Journal::Job job() const {
    Journal::Job job;
    job.output = options_.output;
    job.slots = slots_;
    job.resume = options_.resume;
    job.resume_command = resume_command(options_.common, options_.resume);
    if (!has_journal(options_.output)) return job;
    job.identity = job_identity("generate", model_.directory, model_.model(), model_.numerics);
    job.identity.set("input", input_sha256_).set("--samples", options_.samples);
    add_flags(job.identity, options_.sampling);
    add_grammar(job.identity, options_.grammar);
    if (options_.logprobs)
      job.identity.set("--logprobs", true)
          .set("--logprob-format", format_ == LogprobFormat::hex ? "hex" : "decimal");
    job.identity.set(kBegun, *begun_);
    job.slot_of = [this](const Json& line) {
      const int64_t row = line.get_int("row"), sample = line.get_int("sample");
      if (row < 0 || row >= std::ssize(rows_)) return int64_t{-1};
      const GenerateRow& of = rows_[static_cast<size_t>(row)];
      return of.error.empty() && sample >= 0 && sample < of.rows() ? slot(of, sample) : -1;
    };
    return job;
  }

  int64_t slot(const GenerateRow& row, int64_t sample) const {
    return first_slot_[static_cast<size_t>(row.row)] + sample;
  }

  // Adds to `bad` the rows that could not be answered.
  void sample(OrderedOutput& out, std::set<int64_t>& bad) {
    for (GenerateRow& row : rows_) {
      if (!row.error.empty()) continue;
      for (Request& request :
           unfinished_part(row.request, [&](int64_t sample) { return out.is_finished(slot(row, sample)); })) {
        requests_.push_back(std::move(request));
        row_of_request_.push_back(row.row);
      }
      row.request.prompt = {};  // the requests hold a copy
    }
    if (requests_.empty()) return;
    int64_t samples = 0;
    for (const Request& request : requests_) samples += request.samples;
    Counter counter("samples", samples);
    Runtime runtime(options_.common, model_.model(), model_.numerics);
    Engine engine(model_.model(), runtime.ctx,
                  {.max_batch = options_.batch,
                   .prefill_chunk = options_.prefill_chunk,
                   .kv_bytes = runtime.kv_bytes()});
    const auto row_of = [this](int64_t request) -> const GenerateRow& {
      return rows_[static_cast<size_t>(row_of_request_[static_cast<size_t>(request)])];
    };
    std::set<int64_t> finished;  // slots
    const auto on_done = [&](const Completion& c) {
      const GenerateRow& row = row_of(c.request);
      out.finish(slot(row, c.sample), line_of(row, c));
      finished.insert(slot(row, c.sample));
      counter.add(1);
    };
    // The settings of a row may leave no token to draw.
    const auto on_failed = [&](int64_t request, const std::string& why) {
      const GenerateRow& row = row_of(request);
      const Request& of = requests_[static_cast<size_t>(request)];
      bad.insert(row.row);
      for (int64_t s = of.first_sample; s < of.first_sample + of.samples; ++s) {
        if (finished.contains(slot(row, s))) continue;
        out.settle(slot(row, s), error_line(row, why, s));
        counter.add(1);
      }
    };
    engine.stream(requests_, on_done, {}, on_failed);
  }

  // Without a sample, the error is the whole row's.
  static std::string error_line(const GenerateRow& row, const std::string& error,
                                std::optional<int64_t> sample = {}) {
    Json json = error_row(row.row, error);
    if (row.id) json.set("id", *row.id);
    if (sample) json.set("sample", *sample);
    return json.dump();
  }

  std::string line_of(const GenerateRow& row, const Completion& c) const {
    Json json = Json::object();
    json.set("row", row.row);
    if (row.id) json.set("id", *row.id);
    json.set("sample", c.sample);
    json.set("prompt_tokens", Json::array_of(requests_[static_cast<size_t>(c.request)].prompt));
    json.set("tokens", Json::array_of(c.tokens)).set("text", model_.text_of(c.tokens));
    json.set("finish_reason", name_of(c.finish));
    if (requests_[static_cast<size_t>(c.request)].constraint) json.set("complete", c.complete);
    if (options_.logprobs) json.set("logprobs", logprobs_json(c.logprobs, format_));
    return json.dump();
  }

  const GenerateOptions& options_;
  const SamplingModel& model_;
  Constraints constraints_;
  LogprobFormat format_;
  std::vector<GenerateRow> rows_;    // by index in the input
  std::vector<int64_t> first_slot_;  // of each row, in the output
  int64_t slots_ = 0;                // number of rows of the output
  std::string input_sha256_;         // empty if the output has no journal
  std::optional<int64_t> begun_;     // from local_time()
  std::vector<Request> requests_;
  std::vector<int64_t> row_of_request_;
};

}  // namespace

int run_generate(const GenerateOptions& options) {
  check_common(options.common);
  check_between("--samples", options.samples, 1, kMostSamples);
  check_between("--batch", options.batch, 1, kMostBatch);
  check_between("--prefill-chunk", options.prefill_chunk, 1, kMostPrefillChunk);
  logprob_format(options.logprob_format, options.logprobs);
  check_output(options.output, {options.input}, options.resume);
  const SamplingModel model = SamplingModel::load(options.common, resolve_model(options.model));
  check_max_tokens(options.sampling, model.model().config());
  OfflineBatch batch(options, model);
  batch.read();
  return batch.run();
}

}  // namespace r1
