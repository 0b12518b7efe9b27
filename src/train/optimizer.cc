#include "train/optimizer.h"

#include <cmath>

#include "base/math.h"
#include "formats/safetensors.h"
#include "tensor/transfer.h"

namespace r1 {

OptimizerConfig read_optimizer_config(ConfigFile& config, const OptimizerDefaults& defaults) {
  constexpr double kMostLr = 10;
  OptimizerConfig o;
  o.section = defaults.section;
  const auto key = [&](const char* name) { return o.section + "." + name; };
  if (defaults.lr) {
    o.lr = config.number_or(key("lr"), *defaults.lr, 0, kMostLr);
  } else {
    const std::optional<double> lr = config.number_if(key("lr"), 0, kMostLr);
    o.lr = lr.value_or(0);
    o.lr_by_size = !lr;
  }
  const std::vector<double> betas = config.numbers_or(key("betas"), {o.beta1, o.beta2});
  if (betas.size() != 2 || betas[0] < 0 || betas[0] >= 1 || betas[1] < 0 || betas[1] >= 1) {
    config.fail(key("betas"), "is not two numbers in [0, 1)");
  }
  o.beta1 = betas[0];
  o.beta2 = betas[1];
  o.eps = config.number_or(key("eps"), o.eps, 1e-30, 1);
  o.weight_decay = config.number_or(key("weight_decay"), o.weight_decay, 0, 10);
  o.clip = config.number_or(key("clip"), o.clip, 0, 1e9);
  const std::string schedule =
      config.choice_or(key("schedule"), "constant", {"constant", "cosine", "linear"});
  o.schedule = schedule == "cosine"   ? LrSchedule::cosine
               : schedule == "linear" ? LrSchedule::linear
                                      : LrSchedule::constant;
  o.steps = defaults.steps ? *defaults.steps : config.integer(key("steps"), 1, int64_t{1} << 40);
  o.warmup = config.integer_or(key("warmup"), defaults.warmup, 0, o.steps);
  o.final_lr = config.number_or(key("final_lr"), o.final_lr, 0, 1);
  return o;
}

OptimizerConfig by_updates(OptimizerConfig config, int64_t updates) {
  config.steps *= updates;
  config.warmup *= updates;
  return config;
}

double lr_at(const OptimizerConfig& config, int64_t step) {
  if (step <= config.warmup)
    return config.lr * static_cast<double>(step) / static_cast<double>(config.warmup);
  if (config.schedule == LrSchedule::constant) return config.lr;
  const double span = static_cast<double>(std::max<int64_t>(1, config.steps - config.warmup));
  const double done = std::min(1.0, static_cast<double>(step - config.warmup) / span);
  double share = 1.0 - done;
  if (config.schedule == LrSchedule::cosine) {
    double sine = 0, cosine = 0;
    exact_sincos(3.141592653589793 * done, &sine, &cosine);
    share = 0.5 * (1.0 + cosine);
  }
  return config.lr * (config.final_lr + (1.0 - config.final_lr) * share);
}

Optimizer::Optimizer(Model& model, const OptimizerConfig& config)
    : model_(model), config_(config), parameters_(model.trainable()) {
  model.allocate_gradients();
  for (const Parameter* p : parameters_) {
    m_.emplace_back(p->value.shape, DType::f32, model.memory());
    v_.emplace_back(p->value.shape, DType::f32, model.memory());
  }
}

Optimizer::Result Optimizer::update(Context& ctx) {
  Result result;
  result.grad_norm = gradient_norm(ctx, parameters_);
  if (!std::isfinite(result.grad_norm)) {
    throw Error("step " + std::to_string(steps_done_ + 1) + ": the gradient is not finite: lower " +
                config_.section + ".lr");
  }
  ++steps_done_;
  result.lr = lr_at(config_, steps_done_);
  const float scale = config_.clip > 0 && result.grad_norm > config_.clip
                          ? static_cast<float>(config_.clip / result.grad_norm)
                          : 1.0f;
  AdamW how;
  how.lr = static_cast<float>(result.lr);
  how.beta1 = static_cast<float>(config_.beta1);
  how.beta2 = static_cast<float>(config_.beta2);
  how.eps = static_cast<float>(config_.eps);
  how.step = steps_done_;
  std::vector<AdamWItem> items;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const bool matrix = parameters_[i]->value.shape.rank() > 1;
    items.push_back({.parameter = parameters_[i],
                     .m = m_[i].tensor(),
                     .v = v_[i].tensor(),
                     .weight_decay = matrix ? static_cast<float>(config_.weight_decay) : 0.0f});
  }
  adamw_update(ctx, items, how, scale);
  model_.zero_gradients(ctx);
  return result;
}

void Optimizer::save(const std::filesystem::path& directory) const {
  std::vector<SafetensorsWriter::Declared> declared;
  for (const char* kind : {"m.", "v."}) {
    for (const Parameter* p : parameters_) {
      SafetensorsWriter::Declared tensor{.name = kind + p->name, .type = StoredType::f32, .shape = {}};
      for (int i = 0; i < p->value.shape.rank(); ++i) tensor.shape.push_back(p->value.dim(i));
      declared.push_back(std::move(tensor));
    }
  }
  SafetensorsWriter out(directory / "optimizer.safetensors", std::move(declared));
  const auto write = [&](const std::string& name, const Tensor& moments) {
    in_f32(model_.memory(), moments, [&](std::span<const float> values) { out.write(name, values); });
  };
  for (size_t i = 0; i < parameters_.size(); ++i) write("m." + parameters_[i]->name, m_[i].tensor());
  for (size_t i = 0; i < parameters_.size(); ++i) write("v." + parameters_[i]->name, v_[i].tensor());
  out.close();
}

void Optimizer::load(const std::filesystem::path& directory, int64_t steps_done) {
  const SafetensorsFile file(directory / "optimizer.safetensors");
  const auto read = [&](const std::string& name, const Tensor& into) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr || info->count() != into.count()) {
      throw Error(file.path() + ": tensor " + name +
                  " is missing or of another size: the checkpoint is of another model");
    }
    std::vector<float> values(static_cast<size_t>(into.count()));
    read_as_f32(file, *info, values);
    write_values(model_.memory(), into, 0, values);
  };
  for (size_t i = 0; i < parameters_.size(); ++i) {
    read("m." + parameters_[i]->name, m_[i].tensor());
    read("v." + parameters_[i]->name, v_[i].tensor());
  }
  steps_done_ = steps_done;
}

}  // namespace r1
