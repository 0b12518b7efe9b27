#include "cli/score_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/pending_file.h"
#include "formats/safetensors.h"
#include "model/scoring.h"
#include "ops/elementwise/elementwise.h"
#include "ops/loss/loss.h"
#include "ops/matmul/matmul.h"
#include "tensor/transfer.h"

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
    for (int64_t t = row.size() - kept(row); t < row.size(); t += chunk) {
      const OpScope scratch(ctx);
      std::vector<int32_t> at(static_cast<size_t>(std::min(chunk, row.size() - t)));
      std::iota(at.begin(), at.end(), static_cast<int32_t>(t));
      const Tensor logits = matmul(ctx, gather_rows(ctx, hidden, at), model.head(), DType::f32);
      in_f32(ctx.memory(), logits, [&](std::span<const float> values) {
        check_numbers(model, values, fmt::format("row {}", row.row));
        out.write(fmt::format("logits.{}", row.row), values);
      });
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
  for (const ScoredRow& row : list) scored += row.scored();
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
  for (const Parameter* p : parameters) {
    in_f32(model.memory(), p->grad,
           [&](std::span<const float> values) { out.write("grad." + p->name, values); });
  }
  out.close();
  pending.commit();
}

}  // namespace r1
