// model/model.h: a transformer: its parameters, and the one forward that samples, scores and trains.
//
// A family (deepseek.cc, llama.cc) maps checkpoint names to parameters and picks attention and mlp;
// nothing else knows which family it is. The same forward serves every use: the engine gives it pages and no
// tape, scoring gives it a batch of whole sequences, and training gives it the same batch and a tape.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/config.h"
#include "model/kv_cache.h"
#include "model/weight_use.h"
#include "ops/matmul/matmul.h"
#include "ops/mla/mla.h"
#include "ops/moe/moe.h"
#include "ops/residual/residual.h"
#include "ops/rope/rope.h"
#include "tensor/context.h"

namespace r1 {

class WeightSource;
struct WeightFormats;

// A training step's interface to the routers: the balance loss to add, and the statistics to collect.
struct RouterTraining {
  float balance_scale = 0;                 // see MoeTraining
  std::vector<MoeStats>* stats = nullptr;  // one per layer (empty for dense layers)
  double* balance_loss = nullptr;
};

// Layer `layer`'s share of it.
MoeTraining layer_training(const RouterTraining& training, size_t layer);

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
  // Without a tape: the stream takes in the result.
  void add_to(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
              ResidualStream& stream, const Norm& next) const;

 private:
  Tensor turned(Context& ctx, const Batch& batch, const RopeTable& rope, const Tensor& projected,
                Parameter* norm) const;
  Tensor attended(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                  const std::vector<Tensor>& projected) const;
};

// Multi-head latent attention in latent form. q_a and q_norm are set only if the config has a q_lora_rank.
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
  // forward() if places_latents().
  Tensor forward_placed(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                        const Tensor& x) const;
};

struct Mlp {
  Weight gate, up, down;
  Tensor forward(Context& ctx, const Tensor& x) const;
  // Without a tape: the stream takes in the result.
  void add_to(Context& ctx, ResidualStream& stream, const Norm& next) const;
};

// Routed experts plus shared ones; shared.gate is empty if there are none.
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
  // x [T, D] -> [T, D]; without a tape the result takes x's place.
  Tensor forward(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope, const Tensor& x,
                 const MoeTraining& training) const;
  // Its two parts, from x after their norms. The results are what x takes in, in f32.
  Tensor attended(Context& ctx, const Batch& batch, const KvPages& kv, const RopeTable& rope,
                  const Tensor& normed) const;
  Tensor mixed(Context& ctx, const Batch& batch, const Tensor& normed, const MoeTraining& training) const;
};

// A module of multi-token prediction (model/prediction.h).
struct PredictionModule {
  Parameter* token_norm = nullptr;   // enorm
  Parameter* hidden_norm = nullptr;  // hnorm
  Weight join;                       // eh_proj [D, 2 D]: columns of the token's half come first
  Block block;
  Parameter* norm = nullptr;  // shared_head.norm
};

class Model {
 public:
  // Loads a Hugging Face directory or a GGUF file: matrices in f32, or in bf16 (rounded if the file holds
  // more); vectors always in f32. A model that is trained needs f32. Tensors that have no place in this
  // architecture are skipped with a warning, as in transformers. What is trained, and the kernels' copies,
  // lie in `memory`. Throws Error for missing, misshapen or non-finite tensors and for an unknown
  // architecture. With `quantize`, a type of model/quantize_plan.h such as "Q4_K_M", the weights are those of
  // the file that `r1 quantize` makes of the model; "" loads them as they are.
  static Model load(const std::filesystem::path& directory, DType matrices = DType::f32,
                    WeightUse use = WeightUse::training, Memory& memory = host_memory(),
                    std::string_view quantize = {});
  // Loads a value model (ModelConfig::value_head) for training; load() refuses it.
  static Model load_value_model(const std::filesystem::path& directory, Memory& memory = host_memory());
  // Creates new weights: normal(0, initializer_range) for matrices, 1 for norms, 0 for biases; a pure
  // function of config and seed.
  static Model create(const ModelConfig& config, uint64_t seed, Memory& memory = host_memory());
  // A value model (ModelConfig::value_head) for training with the weights of `trunk` and a head of zeros.
  static Model value_model(const Model& trunk);
  // A model of this shape whose weights have addresses but no memory. It is for measuring: its forward and
  // backward run under Context::measuring alone. `memory` must outlive it. Its matrices are stored in `formats`;
  // null: all in the type of `matrices`.
  static Model shape_only(const ModelConfig& config, DType matrices, NoMemory& memory,
                          WeightUse use = WeightUse::training, const WeightFormats* formats = nullptr);
  // A model for inference with random weights that no file holds, to measure the speed of a shape.
  static Model of_noise(const ModelConfig& config, DType matrices, const WeightFormats* formats = nullptr,
                        Memory& memory = host_memory());
  // An independent copy of the weights (a reference policy). A frozen model's copy is frozen.
  Model clone() const;

  // Writes config.json and model.safetensors into an existing directory.
  void save(const std::filesystem::path& directory, DType dtype) const;

  // batch -> hidden states [T, D] after the last norm; keys and values go to `kv`. Throws only
  // BrokenInvariant: callers have checked token ids and lengths (check_tokens). With a tape for `recompute`, which
  // lasts as long as ctx's and serves one layer at a time, activations are checkpointed: those of a layer are
  // dropped after its forward and computed again for its backward. No bit differs. `batch` must then outlive the
  // backward, and all layers may have the same pages (KvCache::Layers::one).
  Tensor forward(Context& ctx, const Batch& batch, const KvCache& kv, const RouterTraining& training = {},
                 Tape* recompute = nullptr) const;
  // The MTP head, if the model has one (model/prediction.h). batch -> [T, D] in f32, before the head's last norm.
  // `hidden` [T, D] belongs to the positions of the batch, whose tokens are those after these positions. Keys
  // and values go to the last layer of `kv`.
  Tensor predict(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& hidden) const;
  // predict()'s result [T, D] -> logits [T, V] of the tokens two positions on.
  Tensor predicted_logits(Context& ctx, const Tensor& x) const;
  bool predicts() const { return !predictions_.empty(); }
  // Brings the kernels' copies of all matrices up to date. After that, forwards of the same numerics only
  // read the model, so several may run at a time, each with its own context.
  void pack(Context& ctx) const;

  // A number that changes if a copy of a matrix that products read, or the rotary table's part of positions
  // [0, positions), which is made, has moved in memory since. After pack().
  uint64_t places(Context& ctx, int64_t positions) const;

  const ModelConfig& config() const { return config_; }
  // Warnings that only load() can give, one line each, with the file's name.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const Weight& head() const { return head_; }  // [V, D]; of a value model [1, D]
  std::deque<Parameter>& parameters() { return *parameters_; }
  const std::deque<Parameter>& parameters() const { return *parameters_; }
  std::vector<Parameter*> trainable();
  int64_t parameter_count() const;
  // The weights as the forward reads them, without padding; a trained model holds them twice. `as_blocks`:
  // frozen matrices of blocks stay blocks (cpu-q8act).
  int64_t weight_bytes(bool as_blocks = false) const;
  // Calls f with every matrix and the bytes of the copy that products and look-ups read, now.
  void each_held(const std::function<void(const Parameter&, int64_t bytes)>& f) const;
  bool frozen() const { return frozen_; }
  // Bytes of weights, gradients and packed copies that are in memory now.
  int64_t held_bytes() const;
  // Reads every value. Throws Error, with the tensor and the index, if one is NaN or infinite.
  void check_finite() const;
  // Parameters that a token passes through: all except the experts that are not chosen.
  int64_t active_parameter_count() const;
  std::string weights_sha256() const;  // of names and f32 values, whatever their type in memory
  // Router biases by layer (null for dense layers), for balancing.
  std::vector<Parameter*> selection_biases() const;

  // The memory of weights and gradients.
  Memory& memory() const { return *memory_; }
  // Allocates zeroed gradients for every trainable parameter; they live as long as the model.
  void allocate_gradients();
  void zero_gradients(Context& ctx);
  // Called after the last backward: adds the gradients that are held apart (Parameter::row_grad) to the
  // others.
  void join_gradients(Context& ctx);
  // Copies values (shapes must agree) and marks packed copies stale. Of a model for training; `other` may be
  // frozen.
  void copy_weights_from(const Model& other);
  // Copies the weights of a checkpoint in the same way. Throws Error as load() does.
  void read_weights(const std::filesystem::path& checkpoint);

 private:
  Tensor forward_in_place(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& x,
                          const RouterTraining& training) const;
  Tensor forward_recomputed(Context& ctx, const Batch& batch, const KvCache& kv, const Tensor& embedded,
                            const RouterTraining& training, Tape& layer) const;  // recompute.cc
  friend class ModelBuilder;
  Model() = default;
  const Weight& table() const { return embedding_ ? embedding_ : head_; }
  // Compares every tensor's shape with `weights` before it allocates memory for it.
  static Model build(const ModelConfig& config, DType matrices, const WeightSource* weights = nullptr,
                     WeightUse use = WeightUse::training, Memory& memory = host_memory());
  static Model load_with_head(const std::filesystem::path& directory, DType matrices, WeightUse use,
                              Memory& memory, std::string_view quantize, bool value_head);

  ModelConfig config_;
  std::vector<std::string> warnings_;
  DType matrices_ = DType::f32;
  Memory* memory_ = &host_memory();                    // of weights and gradients
  std::unique_ptr<std::deque<Parameter>> parameters_;  // addresses stay: weights point into it
  std::deque<Buffer> storage_;
  bool frozen_ = false;
  Weight embedding_;  // empty if it is the head's matrix
  Parameter* norm_ = nullptr;
  Weight head_;
  std::vector<Block> blocks_;
  std::vector<PredictionModule> predictions_;
  RopeTable rope_;
};

// Throws Error if one of `values`, which the model has computed, is NaN. The message names the damaged tensor
// if there is one, which is searched for then. `what` is what was computed: "row 3".
void check_numbers(const Model& model, std::span<const float> values, const std::string& what);

// Throws Error if a token is not in the vocabulary or the sequence is longer than the model's context.
void check_tokens(const ModelConfig& config, std::span<const int32_t> tokens, const std::string& what);

}  // namespace r1
