#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/hash.h"
#include "base/machine.h"
#include "formats/weight_source.h"
#include "model/builder.h"
#include "model/uniform_source.h"
#include "ops/elementwise/elementwise.h"
#include "ops/init/init.h"
#include "ops/optim/optim.h"
#include "tensor/transfer.h"
#include "tensor/workspace.h"

namespace r1 {

Model Model::build(const ModelConfig& config, DType matrices, const WeightSource* weights, WeightUse use,
                   Memory& memory) {
  R1_CHECK(matrices == DType::f32 || matrices == DType::bf16, name_of(matrices));
  Model model;
  model.config_ = config;
  model.matrices_ = matrices;
  model.memory_ = &memory;
  model.frozen_ = use != WeightUse::training;
  model.parameters_ = std::make_unique<std::deque<Parameter>>();
  ModelBuilder(model, weights).build();
  return model;
}

namespace {

// Called before memory is allocated: catches a size with a zero too many.
void check_fits_machine(const ModelConfig& c) {
  const auto product = [](int64_t a, int64_t b) { return static_cast<double>(a) * static_cast<double>(b); };
  const int64_t width = c.is_latent() ? c.v_head_dim : c.head_dim;
  const double mlp = c.has_experts() ? product(c.moe_intermediate_size, c.moe.experts)
                                     : static_cast<double>(c.intermediate_size);
  const double layer = static_cast<double>(c.hidden_size) * (product(c.heads, width) + 3 * mlp);
  const double bytes = 4 * (product(c.vocab_size, c.hidden_size) + static_cast<double>(c.layers) * layer);
  const double memory = static_cast<double>(memory_facts().total);
  if (memory == 0 || bytes <= memory) return;
  constexpr double kGiB = 0x1p30;
  throw Error(fmt::format(
      "{}: num_hidden_layers = {}, hidden_size = {} and vocab_size = {} need {:.0f} GiB for the weights "
      "alone, and this machine has {:.0f} GiB of memory",
      name_of(c.family), c.layers, c.hidden_size, c.vocab_size, bytes / kGiB, memory / kGiB));
}

}  // namespace

Model Model::create(const ModelConfig& config, uint64_t seed, Memory& memory) {
  check_fits_machine(config);
  Model model = build(config, DType::f32, nullptr, WeightUse::training, memory);
  ThreadPool threads(available_threads());
  Workspace workspace(threads, Numerics::cpu_f32, memory, size_t{1} << 20);  // nothing is taken from it
  uint64_t stream = 0;
  for (Parameter& p : *model.parameters_) {
    ++stream;  // one a parameter, used or not: adding a bias does not change the others' draws
    if (p.value.shape.rank() != 2) continue;
    fill_normal(workspace.ctx, p.value, {.seed = seed, .stream = stream}, config.initializer_range);
  }
  return model;
}

namespace {

// Hands out the matrices of a frozen model again, from where it has them.
class SameSource final : public WeightSource {
 public:
  explicit SameSource(const std::deque<Parameter>& parameters) {
    for (const Parameter& p : parameters) {
      names_.push_back(p.name);
      if (p.frozen()) stored_.emplace(p.name, &p.stored);
    }
  }
  const std::vector<std::string>& names() const override { return names_; }
  void alias(std::string_view, std::string_view) override {}
  void check(const std::string&, const Shape&, const FieldOf&) const override {}
  Stored take(const std::string& name, const Shape&) const override { return *stored_.at(name); }
  std::vector<std::string> unread() const override { return {}; }
  std::string file_of(std::string_view name) const override {
    const auto at = stored_.find(std::string(name));
    return at == stored_.end() ? "" : at->second->owner->path();
  }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, const Stored*> stored_;
};

// The bytes of a model that has shapes alone.
class NoBytes final : public StoredBytes {
 public:
  const std::string& path() const override { return path_; }
  void read(uint64_t, std::span<std::byte>, std::string_view tensor) const override {
    R1_CHECK(false, tensor, " of a model without memory is read");
  }

 private:
  std::string path_ = "a model without memory";
};

// The values of `from` -> the memory of `to`, of the same shape and type.
void copy_value(Memory& memory, const Parameter& from, const Tensor& to) {
  if (!from.frozen()) return copy_values(memory, from.value, to);
  read_finite(from.stored, memory, to);
}

}  // namespace

Model Model::shape_only(const ModelConfig& config, DType matrices, NoMemory& memory, WeightUse use,
                        const WeightFormats* formats) {
  const auto nothing = std::make_shared<NoBytes>();
  const UniformSource source(formats == nullptr ? uniform_formats(matrices) : *formats,
                             [&nothing](Format) { return nothing; });
  return build(config, matrices, &source, use, memory);
}

Model Model::clone() const {
  const SameSource source(*parameters_);
  Model copy =
      build(config_, matrices_, &source, frozen_ ? WeightUse::inference : WeightUse::training, *memory_);
  for (size_t i = 0; i < parameters_->size(); ++i) {
    const Parameter& to = (*copy.parameters_)[i];
    if (!to.frozen()) copy_value(*memory_, (*parameters_)[i], to.value);
  }
  return copy;
}

Model Model::value_model(const Model& trunk) {
  Model model =
      build(value_model_config(trunk.config_), DType::f32, nullptr, WeightUse::training, *trunk.memory_);
  std::unordered_map<std::string_view, const Parameter*> by_name;
  for (const Parameter& p : *trunk.parameters_) by_name.emplace(p.name, &p);
  const Parameter* head = &model.head_.dense();
  for (const Parameter& to : *model.parameters_) {
    if (&to != head) copy_value(*trunk.memory_, *by_name.at(to.name), to.value);
  }
  return model;
}

void Model::copy_weights_from(const Model& other) {
  R1_CHECK(parameters_->size() == other.parameters_->size(), "different models");
  R1_CHECK(memory_ == other.memory_, "weights in different memories");
  for (size_t i = 0; i < parameters_->size(); ++i) {
    Parameter& to = (*parameters_)[i];
    const Parameter& from = (*other.parameters_)[i];
    R1_CHECK(!to.frozen(), to.name, " is frozen");
    copy_value(*memory_, from, to.value);
    ++to.version;
  }
}

void Model::read_weights(const std::filesystem::path& checkpoint) {
  copy_weights_from(
      load_with_head(checkpoint, DType::f32, WeightUse::inference, *memory_, {}, config_.value_head));
}

std::vector<Parameter*> Model::trainable() {
  std::vector<Parameter*> list;
  for (Parameter& p : *parameters_) {
    if (p.trainable) list.push_back(&p);
  }
  return list;
}

int64_t Model::parameter_count() const {
  int64_t n = 0;
  for (const Parameter& p : *parameters_) n += p.value.count();
  return n;
}

int64_t Model::weight_bytes(bool as_blocks) const {
  int64_t n = 0;
  for (const Parameter& p : *parameters_) {
    const bool blocks = as_blocks && p.frozen() && is_blocks(p.stored.format);
    const bool narrow = p.frozen() && (p.stored.format == Format::bf16 || p.stored.format == Format::f16);
    n += blocks   ? bytes_of(p.stored.format, p.value.count())
         : narrow ? p.value.count() * 2
                  : static_cast<int64_t>(p.value.bytes());
  }
  return n;
}

int64_t Model::active_parameter_count() const {
  int64_t idle = 0;
  const auto count = [&idle](const Block& block) {
    const auto* moe = std::get_if<MoeLayer>(&block.mlp);
    if (moe == nullptr) return;
    const Expert& expert = moe->routed.experts.front();
    const int64_t size = expert.gate.dense().value.count() + expert.up.dense().value.count() +
                         expert.down.dense().value.count();
    idle += (moe->routed.config.experts - moe->routed.config.active) * size;
  };
  for (const Block& block : blocks_) count(block);
  for (const PredictionModule& module : predictions_) count(module.block);
  return parameter_count() - idle;
}

std::vector<Parameter*> Model::selection_biases() const {
  std::vector<Parameter*> list;
  for (const Block& block : blocks_) {
    const auto* moe = std::get_if<MoeLayer>(&block.mlp);
    list.push_back(moe == nullptr ? nullptr : moe->routed.bias);
  }
  return list;
}

void Model::allocate_gradients() {
  for (Parameter& p : *parameters_) {
    R1_CHECK(!p.frozen(), p.name, " is frozen: load the model for training");
    if (!p.trainable || p.grad) continue;
    storage_.emplace_back(p.value.shape, DType::f32, *memory_);
    p.grad = storage_.back().tensor();
  }
  Parameter& embedding = table().dense();
  if (config_.tie_word_embeddings && embedding.grad && !embedding.row_grad) {
    storage_.emplace_back(embedding.value.shape, DType::f32, *memory_);
    embedding.row_grad = storage_.back().tensor();
  }
}

void Model::join_gradients(Context& ctx) {
  const Parameter& embedding = table().dense();
  if (!embedding.row_grad) return;
  add_in_place(ctx, embedding.grad, embedding.row_grad);
  zero_values(ctx.memory(), embedding.row_grad, ctx.stream);
}

void Model::zero_gradients(Context& ctx) {
  const std::vector<Parameter*> list = trainable();
  r1::zero_gradients(ctx, list);
}

std::string Model::weights_sha256() const {
  Sha256 hash;
  for (const Parameter& p : *parameters_) {
    hash.update(std::as_bytes(std::span(p.name)));
    in_f32(*memory_, p, [&](std::span<const float> values) { hash.update(std::as_bytes(values)); });
  }
  return hash.hex();
}

void Model::check_finite() const {
  for (const Parameter& p : *parameters_) {
    if (p.frozen()) {
      r1::check_finite(p.stored);
      continue;
    }
    in_f32(*memory_, p, [&p](std::span<const float> values) {
      for (const float v : values) {
        if (!std::isfinite(v)) throw Error(p.name + ": has a value that is not finite");
      }
    });
  }
}

void check_numbers(const Model& model, std::span<const float> values, const std::string& what) {
  if (std::ranges::none_of(values, [](float v) { return std::isnan(v); })) return;
  model.check_finite();
  throw Error(what + ": the model's outputs are not numbers, although its weights are: they are too large");
}

void check_tokens(const ModelConfig& config, std::span<const int32_t> tokens, const std::string& what) {
  if (tokens.empty()) throw Error(what + ": has no tokens");
  if (static_cast<int64_t>(tokens.size()) > config.max_positions) {
    throw Error(what + ": is " + std::to_string(tokens.size()) + " tokens long, the model's context is " +
                std::to_string(config.max_positions));
  }
  for (const int32_t token : tokens) {
    if (token < 0 || token >= config.vocab_size) {
      throw Error(what + ": token " + std::to_string(token) + " is outside the vocabulary of " +
                  std::to_string(config.vocab_size));
    }
  }
}

}  // namespace r1
