// cli/score.cc: `r1 score`: log-probs, logits and gradients of given tokens, computed by the forward that
// samples them.
#include <fmt/format.h>

#include "base/error.h"
#include "cli/common.h"
#include "cli/job_identity.h"
#include "cli/logprobs.h"
#include "cli/ordered_output.h"
#include "cli/score_rows.h"
#include "cli/score_tensors.h"
#include "model/scoring.h"

namespace r1 {
namespace {

struct LogprobJob {
  const ScoreOptions& options;
  double temperature;
  LogprobFormat format;
  std::filesystem::path directory;
  std::string input_sha256;
};

Journal::Job journal_job(const LogprobJob& job, const std::string& path, std::span<const ScoreRow> rows,
                         const Model& model, Numerics numerics) {
  Journal::Job out;
  out.output = path;
  out.slots = std::ssize(rows);
  out.resume = job.options.resume;
  out.resume_command = resume_command(job.options.common, job.options.resume);
  if (!has_journal(path)) return out;
  out.identity = job_identity("score", job.directory, model, numerics);
  out.identity.set("input", job.input_sha256).set("--temperature", job.temperature);
  out.identity.set("--logprob-format", job.format == LogprobFormat::hex ? "hex" : "decimal");
  out.slot_of = [](const Json& line) { return line.get_int("row"); };
  return out;
}

std::string logprob_line(const ScoreRow& row, std::span<const float> logprobs, LogprobFormat format) {
  Json json = Json::object();
  json.set("row", row.row);
  if (row.id) json.set("id", *row.id);
  json.set("from", row.from).set("logprobs", logprobs_json(logprobs, format));
  return json.dump();
}

// Scores a bounded number of rows at a time, so that finished rows can be kept. The grouping changes no bit.
void write_logprobs(const LogprobJob& job, std::span<const ScoreRow> rows, const Model& model, Lanes& lanes,
                    OrderedOutput& out) {
  const ScoringOptions options{.temperature = static_cast<float>(job.temperature)};
  // This many tokens give every thread several pieces.
  const int64_t most = options.micro_tokens * 4 * lanes.threads().size();
  std::vector<ScoredRow> some;
  std::vector<const ScoreRow*> of;  // the row of each item of `some`
  int64_t tokens = 0;
  const auto score_some = [&] {
    const auto scored = score(model, lanes, some, options);
    for (size_t i = 0; i < of.size(); ++i) {
      check_numbers(model, scored[i], fmt::format("row {}", of[i]->row));
      out.finish(of[i]->row, logprob_line(*of[i], scored[i], job.format));
    }
    some.clear();
    of.clear();
    tokens = 0;
  };
  for (const ScoreRow& row : rows) {
    if (!row.error.empty()) {
      Json json = error_row(row.row, row.error);
      if (row.id) json.set("id", *row.id);
      out.settle(row.row, json.dump());
    } else if (!row.has_scores()) {
      out.settle(row.row, logprob_line(row, {}, job.format));
    } else if (!out.is_finished(row.row)) {
      some.push_back({row.tokens, row.from});
      of.push_back(&row);
      tokens += row.size();
      if (tokens >= most) score_some();
    }
  }
  if (!some.empty()) score_some();
  out.close();
}

// Returns the path to which log-probs go, or "" if none are written.
std::string logprobs_path(const ScoreOptions& options) {
  const bool nothing = options.output.empty() && options.logprobs.empty() && options.gradients.empty();
  return nothing ? "-" : options.logprobs;
}

// Runs before anything is loaded.
void check_options(const ScoreOptions& options) {
  check_common(options.common);
  if (options.logits_last) {
    check_at_least("--logits-last", *options.logits_last, 1);
    if (options.output.empty())
      throw Error("--logits-last is given, but no logits are written: add --output");
  }
  if (!(options.temperature >= 0 && options.temperature <= 1000))
    throw Error(fmt::format("--temperature is {}; it must be between 0 and 1000", options.temperature));
  if (options.output == "-" || options.gradients == "-")
    throw Error("--output and --gradients write safetensors files: give a file's name instead of -");
  const std::string logprobs = logprobs_path(options);
  if (options.resume && logprobs.empty()) throw Error("--resume goes on with log-probs: it needs --logprobs");
  logprob_format(options.logprob_format, !logprobs.empty());
  if (!logprobs.empty())
    check_output(logprobs, {options.input, options.output, options.gradients}, options.resume);
  if (!options.output.empty()) check_output(options.output, {options.input, options.gradients}, false);
  if (!options.gradients.empty()) check_output(options.gradients, {options.input}, false);
}

}  // namespace

int run_score(const ScoreOptions& options) {
  check_options(options);
  LogprobJob job{
      .options = options,
      .temperature = options.temperature == 0 ? 1.0 : options.temperature,  // as greedy sampling records
      .format = logprob_format(options.logprob_format, true),
      .directory = resolve_model(options.model),
      .input_sha256 = {}};
  const Numerics numerics =
      numerics_to_load(options.common, job.directory, /*full=*/!options.gradients.empty());
  if (!options.gradients.empty() && !has_gradients(numerics)) {
    if (row_of(numerics).product == Product::q8act)
      throw Error(
          fmt::format("--numerics {} has no gradients: with --gradients give --dtype f32 or bf16, which "
                      "dequantises the weights",
                      name_of(numerics)));
    throw Error(fmt::format(
        "numerics {}: there are no gradients with keys and values of that type: leave out --kv-type",
        name_of(numerics)));
  }
  Model model = Model::load(job.directory, activation_dtype(numerics),
                            options.gradients.empty() ? WeightUse::inference : WeightUse::training,
                            device_memory(options.common), options.common.quantize);
  show_warnings(model.warnings());
  const std::string logprobs = logprobs_path(options);
  std::vector<ScoreRow> rows;
  {
    JsonlReader reader(input_path(options.input));
    rows = read_score_rows(reader, model.config());
    if (!logprobs.empty() && has_journal(logprobs)) job.input_sha256 = reader.content_sha256();
  }
  Runtime runtime(options.common, model, numerics);
  Lanes lanes(runtime.threads, numerics, runtime.arena_limit(), model.memory());
  int64_t bad = 0;
  for (const ScoreRow& row : rows) {
    if (row.error.empty()) continue;
    ++bad;
    if (logprobs.empty()) write_stderr("r1: " + row.error + "\n");
  }
  if (!logprobs.empty()) {
    OrderedOutput out(journal_job(job, logprobs, rows, model, numerics), "rows");
    write_logprobs(job, rows, model, lanes, out);
  }
  if (!options.output.empty()) write_logits(rows, model, runtime.ctx, options.logits_last, options.output);
  if (!options.gradients.empty()) write_gradients(rows, model, lanes, job.temperature, options.gradients);
  return status_of_rows(bad, std::ssize(rows));
}

}  // namespace r1
