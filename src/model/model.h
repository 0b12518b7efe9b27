// model/model.h: a transformer: its parameters, and the one forward that samples, scores and trains.
//
// A family (deepseek_v3.cc, llama.cc) maps checkpoint names to parameters and picks attention and mlp;
// nothing else knows which family it is. The same forward serves every use: the engine gives it pages and no
// tape, scoring gives it a batch of whole sequences, training the same batch and a tape.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/config.h"
#include "model/kv_cache.h"
#include "ops/matmul/matmul.h"
#include "ops/mla/mla.h"
#include "ops/moe/moe.h"
#include "ops/rope/rope.h"
#include "tensor/context.h"

namespace r1 {

class HfWeights;

// What a step of training wants to know of, and to add to, the routers.
struct RouterTraining {
  float balance_scale = 0;                 // see MoeTraining
  std::vector<MoeStats>* stats = nullptr;  // one a layer (empty for dense layers)
  double* balance_loss = nullptr;
};

// Grouped-query attention with optional biases, and optional norms over each head of q and k.
struct GroupedAttention {
  Weight q, k, v, o;
  Parameter* q_norm = nullptr;  // [head_dim], before rope; both or none
  Parameter* k_norm = nullptr;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float eps = 1e-6f;   // of q_norm and k_norm
  float scale = 1.0f;  // of the scores
  Tensor forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                 const Tensor& x) const;
};

// Multi-head latent attention in latent form; q_a and q_norm only where the config has a q_lora_rank.
struct LatentAttention {
  Weight q, q_a, kv_a, o;  // q: q_proj, or q_b_proj over the normed q_a
  Parameter* q_norm = nullptr;
  Parameter* kv_norm = nullptr;
  LatentWeight kv_b;
  int64_t heads = 0, nope = 0, rope = 0, latent = 0, value = 0;
  RopeStyle style = RopeStyle::interleaved;
  float scale = 1.0f;  // of the scores
  Tensor forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                 const Tensor& x) const;
};

struct Mlp {
  Weight gate, up, down;
  Tensor forward(Context& ctx, const Tensor& x) const;
};

// Routed experts plus shared ones (none: shared.gate is empty).
struct MoeLayer {
  MoeWeights routed;
  Mlp shared;
  Tensor forward(Context& ctx, const Batch& batch, const Tensor& x, const MoeTraining& training) const;
};

struct Block {
  Parameter* attention_norm = nullptr;
  Parameter* mlp_norm = nullptr;
  float eps = 1e-6f;
  std::variant<GroupedAttention, LatentAttention> attention;
  std::variant<Mlp, MoeLayer> mlp;
  // x [T, D] -> [T, D]; without a tape in x's place.
  Tensor forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope, const Tensor& x,
                 const MoeTraining& training) const;
};

class Model {
 public:
  // Weights of a checkpoint, matrices in f32 or (rounded where the file holds more) in bf16, vectors in f32,
  // whatever the file holds. A model that is trained wants f32. Tensors that this architecture has no place
  // for are left out, as transformers leaves them out, with a warning. Throws Error: missing, misshapen or
  // non-finite tensors, an architecture that is not known.
  static Model load(const std::filesystem::path& directory, DType matrices = DType::f32);
  // New weights: normal(0, initializer_range) for matrices, 1 for norms, 0 for biases; a pure function of
  // config and seed.
  static Model create(const ModelConfig& config, uint64_t seed);
  // An independent copy of the weights (a reference policy).
  Model clone() const;

  // config.json and model.safetensors into an existing directory.
  void save(const std::filesystem::path& directory, DType dtype) const;

  // batch -> hidden states [T, D] after the last norm; keys and values go to `kv`. Throws nothing but broken
  // invariants: callers have checked token ids and lengths (check_tokens).
  Tensor forward(Context& ctx, const Batch& batch, const KvCache& kv,
                 const RouterTraining& training = {}) const;
  // Brings the kernels' copies of all matrices up to date. Forwards of the same numerics then only read the
  // model: several may run at a time, each with a context of its own.
  void pack(Context& ctx) const;

  const ModelConfig& config() const { return config_; }
  // What load() has to say and nothing else would show: one line each, with the file's name.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const Weight& head() const { return head_; }
  std::deque<Parameter>& parameters() { return *parameters_; }
  const std::deque<Parameter>& parameters() const { return *parameters_; }
  std::vector<Parameter*> trainable();
  int64_t parameter_count() const;
  int64_t weight_bytes() const;
  // Parameters a token passes through: all but the experts that are not chosen.
  int64_t active_parameter_count() const;
  std::string weights_sha256() const;  // of names and f32 values, whatever their type in memory
  // Router biases by layer (null for dense layers), for balancing.
  std::vector<Parameter*> selection_biases() const;

  // Gradients for every trainable parameter, zeroed; they live as long as the model.
  void allocate_gradients();
  void zero_gradients(ThreadPool& threads);
  // After the last backward: adds what is held apart (Parameter::row_grad) to the gradients.
  void join_gradients(ThreadPool& threads);
  // Copies values (shapes must agree) and marks packed copies stale.
  void copy_weights_from(const Model& other);

 private:
  friend class ModelBuilder;
  Model() = default;
  // `weights`: every tensor's shape is compared with theirs before memory for it is taken.
  static Model build(const ModelConfig& config, DType matrices, const HfWeights* weights = nullptr);

  ModelConfig config_;
  std::vector<std::string> warnings_;
  DType matrices_ = DType::f32;
  std::unique_ptr<std::deque<Parameter>> parameters_;  // addresses stay: weights point into it
  std::deque<Buffer> storage_;
  Parameter* embedding_ = nullptr;
  Parameter* norm_ = nullptr;
  Weight head_;
  std::vector<Block> blocks_;
  RopeTable rope_;
};

// Throws Error where a token is no token of the model or the sequence is longer than its context.
void check_tokens(const ModelConfig& config, std::span<const int32_t> tokens, const std::string& what);

}  // namespace r1
