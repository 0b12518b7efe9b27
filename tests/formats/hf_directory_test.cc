#include "formats/hf_directory.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "formats/json.h"
#include "tests/formats/formats_test_util.h"

namespace r1::hf_directory_test {
namespace {

using Tensors = std::vector<std::pair<std::string, std::vector<float>>>;

// Every tensor is a matrix of two columns.
void write_file(const std::filesystem::path& path, const Tensors& tensors,
                StoredType type = StoredType::f32) {
  std::vector<SafetensorsWriter::Declared> declared;
  for (const auto& [name, values] : tensors)
    declared.push_back({name, type, {static_cast<int64_t>(values.size()) / 2, 2}});
  SafetensorsWriter writer(path, declared);
  for (const auto& [name, values] : tensors) writer.write(name, values);
  writer.close();
}

void write_index(const std::filesystem::path& path,
                 const std::vector<std::pair<std::string, std::string>>& map) {
  Json weight_map = Json::object();
  for (const auto& [tensor, shard] : map) weight_map.set(tensor, shard);
  Json index = Json::object();
  index.set("metadata", Json::object().set("total_size", 1)).set("weight_map", weight_map);
  put(path, index.dump(2));
}

std::string opening(const TemporaryDirectory& dir) {
  return error_of([&] { HfWeights weights(dir.path()); });
}

std::vector<float> values_of(const HfWeights& weights, const std::string& name, const Shape& shape) {
  const Stored stored = weights.take(name, shape);
  std::vector<float> values(static_cast<size_t>(stored.count()));
  stored.read(0, values);
  check_finite(stored, 0, values);
  return values;
}

TEST(HfWeights, ReadsASingleFile) {
  TemporaryDirectory dir;
  write_file(dir / "model.safetensors", {{"b", {1, 2, 3, 4}}, {"a", {5, 6}}}, StoredType::bf16);
  const HfWeights weights(dir.path());
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(weights.find("b")->shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(weights.find("b")->type, StoredType::bf16);
  EXPECT_FALSE(weights.contains("c"));
  EXPECT_EQ(weights.unread(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(values_of(weights, "b", {2, 2}), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(weights.unread(), std::vector<std::string>{"a"});
  weights.take("a", {1, 2});
  EXPECT_TRUE(weights.unread().empty());
}

TEST(HfWeights, ReadsShards) {
  TemporaryDirectory dir;
  write_file(dir / "model-1.safetensors", {{"a", {1, 2}}, {"c", {3, 4}}});
  write_file(dir / "model-2.safetensors", {{"b", {5, 6}}, {"forgotten", {7, 8}}});
  write_index(dir / "model.safetensors.index.json",
              {{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}, {"c", "model-1.safetensors"}});
  const HfWeights weights(dir.path());
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c", "forgotten"}));
  EXPECT_EQ(values_of(weights, "b", {1, 2}), (std::vector<float>{5, 6}));
  EXPECT_EQ(weights.file_of("b"), (dir / "model-2.safetensors").string());
}

TEST(HfWeights, WrongShapeNamesTensorAndBothShapes) {
  TemporaryDirectory dir;
  write_file(dir / "model.safetensors", {{"model.layers.3.mlp.gate.weight", std::vector<float>(16)}});
  const HfWeights weights(dir.path());
  const auto check = [&](const Shape& shape, const std::string& why) {
    return error_of(
        [&] { weights.check("model.layers.3.mlp.gate.weight", shape, [&](int64_t) { return why; }); });
  };
  const std::string file = (dir / "model.safetensors").string();
  EXPECT_EQ(check({16, 2}, ""),
            file +
                ": tensor model.layers.3.mlp.gate.weight is [8, 2], config.json says [16, 2]: "
                "the file and the config are from different models");
  EXPECT_EQ(check({16, 2}, "n_routed_experts = 16"), file +
                                                         ": tensor model.layers.3.mlp.gate.weight is [8, 2], "
                                                         "config.json says [16, 2] (n_routed_experts = 16): "
                                                         "the file and the config are from different models");
  EXPECT_NE(check({16}, ""), "");  // an equal count does not make the shapes equal
  EXPECT_NE(check({2, 8}, ""), "");
}

TEST(HfWeights, MissingTensorNamesTheNearest) {
  TemporaryDirectory dir;
  write_file(dir / "model.safetensors", {{"model.layers.0.mlp.up_proj.weight", {1, 2}}});
  const HfWeights weights(dir.path());
  EXPECT_EQ(error_of([&] {
              weights.take("model.layers.1.mlp.up_proj.weight", {1, 2});
            }),
            (dir / "model.safetensors").string() +
                ": tensor model.layers.1.mlp.up_proj.weight is missing "
                "(nearest name: model.layers.0.mlp.up_proj.weight)");
  EXPECT_EQ(error_of([&] {
              weights.take("lm_head", {1, 2});
            }),
            (dir / "model.safetensors").string() + ": tensor lm_head is missing");
}

TEST(HfWeights, NotANumberIsRefusedWithItsIndex) {
  TemporaryDirectory dir;
  for (const StoredType type : {StoredType::f32, StoredType::bf16, StoredType::f16}) {
    for (const float bad : {std::nanf(""), -std::nanf("0x12345"), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values(10000, 1.0f);
      values[8193] = bad;
      write_file(dir / "model.safetensors", {{"w", values}}, type);
      const HfWeights weights(dir.path());
      const std::string why = error_of([&] { values_of(weights, "w", {5000, 2}); });
      EXPECT_EQ(why, (dir / "model.safetensors").string() + ": tensor w is " +
                         (std::isnan(bad) ? "NaN" : "infinite") + " at [4096, 1]: the weights are damaged");
    }
  }
  std::vector<float> fine{std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest(), 0x1p-149f,
                          -0.0f};
  write_file(dir / "model.safetensors", {{"w", fine}});
  EXPECT_EQ(error_of([&] { values_of(HfWeights(dir.path()), "w", {2, 2}); }), "");
}

TEST(HfWeights, RefusesDirectoriesThatAreNoCheckpoints) {
  TemporaryDirectory dir;
  EXPECT_EQ(opening(dir),
            dir.path().string() + ": has neither model.safetensors nor model.safetensors.index.json");
  EXPECT_NE(error_of([&] { HfWeights weights(dir / "none"); }).find("none: is not a directory"),
            std::string::npos);
  put(dir / "model.safetensors", "not a safetensors file");
  EXPECT_NE(opening(dir).find("model.safetensors: "), std::string::npos);
}

TEST(HfWeights, RefusesEveryBrokenIndex) {
  TemporaryDirectory dir;
  const std::filesystem::path index = dir / "model.safetensors.index.json";
  write_file(dir / "s1.safetensors", {{"a", {1, 2}}});
  write_file(dir / "s2.safetensors", {{"a", {1, 2}}, {"b", {1, 2}}});

  write_index(index, {{"a", "s3.safetensors"}});
  EXPECT_EQ(opening(dir),
            index.string() + ": shard s3.safetensors is missing (tensor a is in it): download it again");
  for (const char* name : {"../s1.safetensors", "/etc/passwd", "sub/s1.safetensors", "..", ".", "", "a\\b"}) {
    write_index(index, {{"a", name}});
    EXPECT_EQ(
        opening(dir),
        index.string() + ": weight_map.a is not a plain file name: shards lie in the index's own directory")
        << name;
  }
  write_index(index, {{"a", "s1.safetensors"}, {"b", "s2.safetensors"}});
  EXPECT_EQ(opening(dir), "");  // a tensor may be stored twice with equal values
  write_file(dir / "s2.safetensors", {{"a", {1, 3}}, {"b", {1, 2}}});
  EXPECT_NE(opening(dir).find("s2.safetensors: tensor a is also in "), std::string::npos);
  put(index, "{\"weight_map\": {\"a\": 1}}");
  EXPECT_EQ(opening(dir), index.string() + ": weight_map.a is an integer; it must be a string");
  put(index, "{}");
  EXPECT_EQ(opening(dir), index.string() + ": field weight_map is missing");
  put(index, "{\"weight_map\": {\"a\": \"s1.safetensors\", \"a\": \"s2.safetensors\"}}");
  EXPECT_NE(opening(dir).find("appears twice"), std::string::npos);
}

TEST(HfWeights, ATensorThatTheIndexAlonePromisesIsMissingWhenItIsAskedFor) {
  TemporaryDirectory dir;
  const std::filesystem::path index = dir / "model.safetensors.index.json";
  write_file(dir / "s1.safetensors", {{"a", {1, 2}}});
  write_index(index, {{"a", "s1.safetensors"}, {"x", "s1.safetensors"}});
  const HfWeights weights(dir.path());
  weights.take("a", {1, 2});
  EXPECT_EQ(
      error_of([&] {
        weights.take("x", {1, 2});
      }),
      (dir / "s1.safetensors").string() + ": tensor x is missing, " + index.string() + " says it is here");
}

TEST(HfWeights, ShapesAreComparedBeforeAnythingIsRead) {
  TemporaryDirectory dir;
  write_file(dir / "model.safetensors", {{"w", {1, 2, 3, 4}}});
  const HfWeights weights(dir.path());
  const auto field = [](int64_t size) { return size == 2 ? "" : "hidden_size = " + std::to_string(size); };
  EXPECT_EQ(error_of([&] { weights.check("w", {2, 2}, field); }), "");
  EXPECT_EQ(weights.unread(), std::vector<std::string>{"w"});
  EXPECT_EQ(error_of([&] {
              weights.check("w", {2, 1000000000}, field);
            }),
            (dir / "model.safetensors").string() +
                ": tensor w is [2, 2], config.json says [2, 1000000000] (hidden_size = 1000000000): the file "
                "and the "
                "config are from different models");
  EXPECT_NE(error_of([&] { weights.check("w", {4}, field); }).find("(hidden_size = 4)"), std::string::npos);
}

TEST(HfWeights, ReadsAPublishedModel) {
  const std::filesystem::path path = shared_data() / "weights/stories260K";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "NO TEST DATA at " << path << ": set R1_TEST_DATA";
  const Json config = read_json(path / "config.json");
  const HfWeights weights(path);
  const int64_t rows = config.get_int("vocab_size");
  const int64_t width = config.get_int("hidden_size");
  values_of(weights, "model.embed_tokens.weight", {rows, width});
  EXPECT_EQ(weights.unread().size() + 1, weights.names().size());
}

}  // namespace
}  // namespace r1::hf_directory_test
