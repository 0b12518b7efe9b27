// cli/score.cc: `r1 score`: log-probs, logits and gradients of given tokens, by the forward that samples
// them.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "formats/safetensors.h"
#include "model/scoring.h"
#include "ops/convert/convert.h"
#include "ops/loss/loss.h"

namespace r1 {
namespace {

struct InputRow {
  int64_t row = 0;
  std::string error;
  std::vector<int32_t> tokens;
  int64_t from = 1;
  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
};

std::vector<InputRow> read_rows(const std::string& input, const ModelConfig& config) {
  std::vector<InputRow> rows;
  JsonlReader reader(input_path(input));
  for (JsonlRow json; reader.next(json);) {
    InputRow& row = rows.emplace_back(InputRow{.row = json.row, .error = json.error, .tokens = {}});
    if (!row.error.empty()) continue;
    try {
      row.tokens = read_token_ids(json.value.at("tokens"));
      check_tokens(config, row.tokens, json.value.source());
      row.from = json.value.get_int_or("from", 1);
      if (row.from < 1 || row.from > row.size()) {
        json.value.at("from").fail(
            fmt::format("is {}, 1 to {} is wanted (nothing precedes token 0)", row.from, row.size()));
      }
    } catch (const Error& e) {
      row.error = e.what();
    }
  }
  return rows;
}

// The rows that have something to score: a lone token is conditioned on nothing.
std::vector<ScoredRow> scorable(const std::vector<InputRow>& rows) {
  std::vector<ScoredRow> list;
  for (const InputRow& row : rows) {
    if (row.error.empty() && row.size() >= 2) list.push_back({row.tokens, row.from});
  }
  return list;
}

void write_logprobs(const std::vector<InputRow>& rows, const Model& model, Lanes& lanes, double temperature,
                    const std::string& path) {
  RowOutput out(path);
  const auto scored = score(model, lanes, scorable(rows), {.temperature = static_cast<float>(temperature)});
  size_t next = 0;
  for (const InputRow& row : rows) {
    if (!row.error.empty()) {
      out.write(error_row(row.row, row.error));
      continue;
    }
    Json logprobs = Json::array();
    if (row.size() >= 2) {
      for (const float lp : scored[next++]) logprobs.push_back(hex_float(lp));
    }
    Json json = Json::object();
    json.set("row", row.row).set("from", row.from).set("logprobs", std::move(logprobs));
    out.write(json);
  }
  out.close();
}

// "logits.<row>" [T, V], or the last `last` of the T; a row at a time, some tokens at a time, so that memory
// stays bounded.
void write_logits(const std::vector<InputRow>& rows, const Model& model, Context& ctx,
                  std::optional<int64_t> last, const std::string& path) {
  const int64_t V = model.config().vocab_size;
  const auto kept = [&](const InputRow& row) { return std::min(last.value_or(row.size()), row.size()); };
  std::vector<SafetensorsWriter::Declared> declared;
  for (const InputRow& row : rows) {
    if (row.error.empty())
      declared.push_back({fmt::format("logits.{}", row.row), StoredType::f32, {kept(row), V}});
  }
  SafetensorsWriter out(path, std::move(declared));
  for (const InputRow& row : rows) {
    if (!row.error.empty()) continue;
    ArenaScope scope(ctx.arena);
    const std::span<const int32_t> tokens = row.tokens;
    const WholeBatch whole = whole_batch(std::span(&tokens, 1));
    const KvCache kv(model.config(), whole.page_count, ctx);
    const Tensor hidden = model.forward(ctx, whole.view(), kv);
    const int64_t chunk = std::clamp<int64_t>(kLogitFloats / V, 1, row.size());
    float* logits = ctx.arena.array<float>(chunk * V);
    const float* states = as_f32(ctx, hidden);
    for (int64_t t = row.size() - kept(row); t < row.size(); t += chunk) {
      const int64_t n = std::min(chunk, row.size() - t);
      ArenaScope scratch(ctx.arena);
      matmul_into(ctx, states + t * hidden.dim(-1), n, model.head(), logits);
      out.write(fmt::format("logits.{}", row.row), {logits, static_cast<size_t>(n * V)});
    }
  }
  out.close();
}

// "loss": the mean over all scored tokens of minus their log-prob, and its gradient for every trainable
// parameter.
void write_gradients(const std::vector<InputRow>& rows, Model& model, Lanes& lanes, double temperature,
                     const std::string& path) {
  const std::vector<ScoredRow> list = scorable(rows);
  int64_t scored = 0;
  for (const ScoredRow& row : list) scored += static_cast<int64_t>(row.tokens.size()) - row.from;
  if (scored == 0) throw Error(path + ": no row has a token to score, so there is no loss to differentiate");
  model.allocate_gradients();
  std::vector<double> losses(list.size());
  differentiate(model, lanes, list,
                {.temperature = static_cast<float>(temperature), .prompts = Prompts::repeated},
                [&](const RowGradient& row) {
                  std::ranges::fill(row.gradient, -1.0f / static_cast<float>(scored));
                  for (const float logprob : row.logprobs) losses[row.row] -= static_cast<double>(logprob);
                });
  const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  std::vector<SafetensorsWriter::Declared> declared{{"loss", StoredType::f32, {}}};
  const std::vector<Parameter*> parameters = model.trainable();
  for (const Parameter* p : parameters) {
    auto& tensor = declared.emplace_back(SafetensorsWriter::Declared{"grad." + p->name, StoredType::f32, {}});
    for (int i = 0; i < p->value.shape.rank(); ++i) tensor.shape.push_back(p->value.dim(i));
  }
  SafetensorsWriter out(path, std::move(declared));
  const float mean = static_cast<float>(loss / static_cast<double>(scored));
  out.write("loss", {&mean, 1});
  for (const Parameter* p : parameters) out.write("grad." + p->name, p->grad.values());
  out.close();
}

}  // namespace

int run_score(const ScoreOptions& options) {
  check_common(options.common);
  if (options.logits_last) check_at_least("--logits-last", *options.logits_last, 1);
  if (!(options.temperature >= 0 && options.temperature <= 1000)) {
    throw Error(fmt::format("--temperature is {}, 0 to 1000 is wanted", options.temperature));
  }
  for (const std::string& output : {options.output, options.logprobs, options.gradients})
    refuse_overwriting(options.input, output);
  const double temperature =
      options.temperature == 0 ? 1.0 : options.temperature;  // greedy reports temperature 1, too
  const std::filesystem::path directory = resolve_model(options.model);
  const Numerics numerics = choose_numerics(options.common, directory);
  Model model = Model::load(directory, activation_dtype(numerics));
  show_warnings(model.warnings());
  const std::vector<InputRow> rows = read_rows(options.input, model.config());
  Runtime runtime(options.common, model, numerics);
  Lanes lanes(runtime.threads, numerics, runtime.arena_limit());
  const bool to_stdout = options.output.empty() && options.logprobs.empty() && options.gradients.empty();
  const std::string logprobs = to_stdout ? "-" : options.logprobs;
  int64_t bad = 0;
  for (const InputRow& row : rows) {
    if (row.error.empty()) continue;
    ++bad;
    if (logprobs.empty()) write_stderr("r1: " + row.error + "\n");
  }
  if (!logprobs.empty()) write_logprobs(rows, model, lanes, temperature, logprobs);
  if (!options.output.empty()) write_logits(rows, model, runtime.ctx, options.logits_last, options.output);
  if (!options.gradients.empty()) write_gradients(rows, model, lanes, temperature, options.gradients);
  return status_of_rows(bad, static_cast<int64_t>(rows.size()));
}

}  // namespace r1
