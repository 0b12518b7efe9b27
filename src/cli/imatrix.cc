// cli/imatrix.cc: `r1 imatrix`: which columns of each matrix matter, found by running the model over texts.
#include "model/imatrix.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/pending_file.h"
#include "cli/common.h"
#include "cli/convert_common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/jsonl.h"
#include "model/scoring.h"
#include "ops/matmul/matmul.h"

namespace r1 {
namespace {

constexpr int64_t kLeastChunk = 16, kMostChunk = 8192;

// A JSONL file has rows {"text"}, {"messages"} or {"tokens"}; any other file is one text.
class ImatrixTokens {
 public:
  ImatrixTokens(const SamplingModel& model, std::string path) : model_(model), path_(std::move(path)) {}

  std::vector<int32_t> read() {
    if (!path_.ends_with(".jsonl")) {
      const std::string text = read_file(input_path(path_));
      if (text.empty()) throw Error(path_ + ": is empty");
      return model_.tokenized().raw_prompt(text);
    }
    JsonlReader reader(input_path(path_));
    JsonlRow row;
    while (reader.next(row)) add(row);
    if (tokens_.empty()) throw Error(path_ + ": has no tokens");
    return std::move(tokens_);
  }

 private:
  void add(const JsonlRow& row) {
    if (!row.error.empty()) throw Error(row.error);
    const Json& json = row.value;
    std::vector<int32_t> ids;
    if (const Json* tokens = json.find("tokens")) {
      ids = read_token_ids(*tokens);
    } else if (json.contains("messages")) {
      ChatInput input = chat_input(json);
      input.add_generation_prompt = false;
      ids = model_.tokenized().chat(input).tokens;
    } else {
      ids = model_.tokenized().raw_prompt(json.get_string("text"));
    }
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  }

  const SamplingModel& model_;
  std::string path_;
  std::vector<int32_t> tokens_;
};

void check_ids(const ModelConfig& config, std::span<const int32_t> tokens, const std::string& path) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= config.vocab_size)
      throw Error(
          fmt::format("{}: token {} is outside the vocabulary of {}", path, token, config.vocab_size));
  }
}

}  // namespace

int run_imatrix(const ImatrixOptions& asked) {
  ImatrixOptions options = asked;
  check_common(options.common);
  if (options.common.device.empty()) options.common.device = "cpu";
  if (device_of(options.common) != Device::cpu)
    throw Error("--device " + options.common.device + ": r1 imatrix runs on the CPU: leave the option out");
  if (options.chunk < kLeastChunk || options.chunk > kMostChunk) {
    throw Error(
        fmt::format("--chunk is {}; it must be between {} and {}", options.chunk, kLeastChunk, kMostChunk));
  }
  if (options.chunks) check_at_least("--chunks", *options.chunks, 1);
  refuse_overwriting(options.input, options.output);
  check_replaceable(options.output);
  const SamplingModel opened = SamplingModel::load(options.common, resolve_model(options.model));
  const Model& model = opened.model();
  const ModelConfig& config = model.config();
  std::vector<int32_t> tokens = ImatrixTokens(opened, options.input).read();
  check_ids(config, tokens, options.input);
  const int64_t chunk = std::min(options.chunk, config.max_positions);
  int64_t chunks = std::ssize(tokens) / chunk;
  if (chunks == 0) {
    throw Error(
        fmt::format("{}: has {} tokens, fewer than one chunk of {}: give more text, or a smaller --chunk",
                    options.input, tokens.size(), chunk));
  }
  if (options.chunks) chunks = std::min(chunks, *options.chunks);
  Runtime runtime(options.common, model, opened.numerics);
  ImportanceCollector collector(config);
  runtime.ctx.inputs = &collector;
  std::optional<Counter> counter(std::in_place, "chunks", chunks);
  for (int64_t c = 0; c < chunks; ++c) {
    const ArenaScope scope(runtime.ctx.arena);
    const auto part =
        std::span<const int32_t>(tokens).subspan(static_cast<size_t>(c * chunk), static_cast<size_t>(chunk));
    const WholeBatch whole = whole_batch(std::span(&part, 1));
    const KvCache kv(config, whole.page_count, runtime.ctx);
    const Tensor hidden = model.forward(runtime.ctx, whole.view(), kv);
    if (!config.tie_word_embeddings) observe_input(runtime.ctx, hidden, model.head());
    counter->add(1);
  }
  counter->clear();
  collector.write(options.output, {.dataset = options.input, .chunks = chunks, .chunk_tokens = chunk});
  std::vector<std::string> notes;
  if (const std::vector<std::string> unseen = collector.unseen(); !unseen.empty()) {
    constexpr size_t kShown = 3;
    const std::vector<std::string> first(
        unseen.begin(), unseen.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, unseen.size())));
    notes.push_back(fmt::format("experts that saw no token, so nothing is known of their columns: {}{}",
                                fmt::join(first, ", "), unseen.size() > kShown ? ", ..." : ""));
    show_warnings(notes);
  }
  const int64_t used = chunks * chunk;
  if (!options.common.json) {
    write_stdout(fmt::format("{}: {} tensors, {} tokens in {} chunks\n", options.output,
                             collector.sums().size(), used, chunks));
    return 0;
  }
  Json out = Json::object();
  out.set("output", options.output).set("tensors", static_cast<int64_t>(collector.sums().size()));
  out.set("tokens", used).set("chunks", chunks).set("chunk_tokens", chunk);
  out.set("tokens_left_out", std::ssize(tokens) - used).set("notes", Json::array_of(notes));
  write_stdout(out.dump() + "\n");
  return 0;
}

}  // namespace r1
