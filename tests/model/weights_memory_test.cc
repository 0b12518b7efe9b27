// Weights and gradients may lie in a memory that the host cannot touch: everything the model itself reads or
// writes goes through Memory. New weights are written by an op, which runs on the memory's device (tests/gpu/init_test.cc).
#include "model/model.h"
#include "tensor/transfer.h"
#include "tests/model/golden_models.h"
#include "tests/tensor/masked_memory.h"

namespace r1::weights_memory_test {
namespace {

std::vector<float> values_of(const Model& model) {
  std::vector<float> out;
  for (const Parameter& p : model.parameters()) {
    in_f32(model.memory(), p.value,
           [&out](std::span<const float> piece) { out.insert(out.end(), piece.begin(), piece.end()); });
  }
  return out;
}

TEST(WeightsMemory, CopiesStayInTheirMemory) {
  const ModelConfig config = Model::load(test::kGoldenModels / test::kGoldenNames[0]).config();
  test::MaskedMemory masked;
  const Model first = Model::create(config, 3, masked), second = Model::create(config, 4, masked);
  Model copy = first.clone();
  EXPECT_EQ(&copy.memory(), &masked);
  EXPECT_EQ(values_of(copy), values_of(first));
  const uint64_t before = copy.parameters().front().version;
  copy.copy_weights_from(second);
  EXPECT_EQ(values_of(copy), values_of(second));
  EXPECT_GT(copy.parameters().front().version, before);
  EXPECT_THROW(copy.copy_weights_from(Model::create(config, 3)), BrokenInvariant);
}

TEST(WeightsMemory, GradientsBeginAtZero) {
  const ModelConfig config = Model::load(test::kGoldenModels / test::kGoldenNames[0]).config();
  test::MaskedMemory masked;
  Model model = Model::create(config, 3, masked);
  model.allocate_gradients();
  for (const Parameter& p : model.parameters()) {
    if (!p.grad) continue;
    in_f32(masked, p.grad, [&](std::span<const float> piece) {
      for (const float g : piece) ASSERT_EQ(g, 0.0f) << p.name;
    });
  }
}

}  // namespace
}  // namespace r1::weights_memory_test
