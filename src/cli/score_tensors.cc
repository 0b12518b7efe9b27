#include "cli/score_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/pending_file.h"
#include "formats/safetensors.h"
#include "model/scoring.h"
#include "ops/convert/convert.h"
#include "ops/loss/loss.h"

namespace r1 {

// Handles one row and a bounded number of tokens at a time, so that memory stays bounded.
void write_logits(std::span<const ScoreRow> rows, const Model& model, Context& ctx,
                  std::optional<int64_t> last, const std::string& path) {
  const int64_t V = model.config().vocab_size;
  const auto kept = [&](const ScoreRow& row) { return std::min(last.value_or(row.size()), row.size()); };
  std::vector<SafetensorsWriter::Declared> declared;
  for (const ScoreRow& row : rows) {
    if (row.error.empty())
      declared.push_back({fmt::format("logits.{}", row.row), StoredType::f32, {kept(row), V}});
  }
  PendingFile pending(path);
  SafetensorsWriter out(pending.path(), std::move(declared));
  for (const ScoreRow& row : rows) {
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
      const std::span<const float> values(logits, static_cast<size_t>(n * V));
      check_numbers(model, values, fmt::format("row {}", row.row));
      out.write(fmt::format("logits.{}", row.row), values);
    }
  }
  out.close();
  pending.commit();
}

void write_gradients(std::span<const ScoreRow> rows, Model& model, Lanes& lanes, double temperature,
                     const std::string& path) {
  std::vector<ScoredRow> list;
  for (const ScoreRow& row : rows) {
    if (row.has_scores()) list.push_back({row.tokens, row.from});
  }
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
  PendingFile pending(path);
  SafetensorsWriter out(pending.path(), std::move(declared));
  const float mean = static_cast<float>(loss / static_cast<double>(scored));
  out.write("loss", {&mean, 1});
  for (const Parameter* p : parameters) out.write("grad." + p->name, p->grad.values());
  out.close();
  pending.commit();
}

}  // namespace r1
