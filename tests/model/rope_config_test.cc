// Rotary frequencies of the published models and of corner cases, compared with transformers' own bits
// (tests/golden/models/rope.json, made by tests/ref/make_rope_goldens.py) and with the papers' formulas in
// double. The tables are also tested at long positions.
#include "model/rope_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "ops/rope/rope.h"

namespace r1::rope_config_test {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(R1_SOURCE_DIR) / "tests/golden/models/rope.json";

int64_t width_of(const Json& config) {
  if (config.contains("qk_rope_head_dim")) return config.get_int("qk_rope_head_dim");
  return config.get_int_or("head_dim", config.get_int("hidden_size") / config.get_int("num_attention_heads"));
}

struct Case {
  explicit Case(const Json& row)
      : name(row.get_string("name")),
        config(read_rope_config(row.at("config"), row.at("config").get_int("max_position_embeddings"))),
        width(width_of(row.at("config"))),
        frequencies(rope_frequencies(config, width)) {}
  std::string name;
  RopeConfig config;
  int64_t width;
  RopeFrequencies frequencies;
};

std::vector<float> floats(const Json& array) {
  std::vector<float> out;
  for (const Json& value : array.items()) out.push_back(static_cast<float>(value.number()));
  return out;
}

TEST(RopeFrequencies, AreTransformers) {
  const Json golden = read_json(kGolden);
  EXPECT_GE(golden.size(), 25u);
  int64_t scaled = 0, different = 0;
  for (const Json& row : golden.items()) {
    const Case c(row);
    const std::vector<float> want = floats(row.at("inverse"));
    ASSERT_EQ(c.frequencies.inverse.size(), want.size()) << c.name;
    EXPECT_FLOAT_EQ(c.frequencies.attention_factor, static_cast<float>(row.get_number("attention_factor")))
        << c.name;
    for (size_t i = 0; i < want.size(); ++i) {
      const float got = c.frequencies.inverse[i];
      EXPECT_LE(std::abs(got - want[i]), want[i] * 0x1p-22f) << c.name << " pair " << i;
      // The plain type rounds once here and three times in transformers, so its bits may differ.
      if (c.config.type == RopeType::plain) continue;
      ++scaled;
      different += got != want[i];
    }
  }
  // All are equal to the bit except three, which torch's f32 power rounds wrongly in the last place.
  EXPECT_GT(scaled, 700);
  EXPECT_EQ(different, 3) << "of " << scaled;
}

// The formulas of rope_config.h, in double throughout.
std::vector<double> reference(const RopeConfig& c, int64_t width) {
  std::vector<double> out;
  const double context = static_cast<double>(c.original_positions), turn = 2 * std::numbers::pi;
  const auto pair_of = [&](double turns) {
    return static_cast<double>(width) * std::log(context / (turns * turn)) / (2 * std::log(c.theta));
  };
  for (int64_t i = 0; i < width / 2; ++i) {
    const double f = std::pow(c.theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
    double scaled = 1;  // the part that is divided by the factor
    if (c.type == RopeType::plain) scaled = 0;
    if (c.type == RopeType::yarn) {
      double low = pair_of(c.beta_fast), high = pair_of(c.beta_slow);
      if (c.truncate) low = std::floor(low), high = std::ceil(high);
      low = std::max(low, 0.0), high = std::min(high, static_cast<double>(width) - 1);
      if (low == high) high += 0.001;
      scaled = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    }
    if (c.type == RopeType::llama3) {  // context * f / turn: how many turns the original context holds
      const double turns = context * f / turn;
      scaled =
          1 - std::clamp((turns - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor), 0.0, 1.0);
    }
    out.push_back(f / c.factor * scaled + f * (1 - scaled));
  }
  return out;
}

TEST(RopeFrequencies, FollowTheFormulasInDouble) {
  const Json golden = read_json(kGolden);
  for (const Json& row : golden.items()) {
    const Case c(row);
    const std::vector<double> want = reference(c.config, c.width);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(c.frequencies.inverse[i], want[i], 1e-6 * want[i]) << c.name << " pair " << i;
    }
  }
}

TEST(RopeFrequencies, TablesAtLongPositionsAreTransformers) {
  const Json golden = read_json(kGolden);
  int64_t compared = 0;
  for (const Json& row : golden.items()) {
    const Json* positions = row.find("positions");
    if (positions == nullptr) continue;
    const Case c(row);
    const RopeTable table(c.frequencies.inverse, c.frequencies.attention_factor,
                          row.at("config").get_int("max_position_embeddings"));
    for (size_t p = 0; p < positions->size(); ++p) {
      const int64_t position = positions->at(p).integer();
      const std::vector<float> cosines = floats(row.at("cosines").at(p));
      const std::vector<float> sines = floats(row.at("sines").at(p));
      for (size_t i = 0; i < cosines.size(); ++i) {
        // The angles are equal (f32 products of equal f32). Then this program rounds once, and torch computes
        // its cosine.
        EXPECT_NEAR(table.cosines(position)[i], cosines[i], 0x1p-23) << c.name << " " << position << " " << i;
        EXPECT_NEAR(table.sines(position)[i], sines[i], 0x1p-23) << c.name << " " << position << " " << i;
        const double angle = static_cast<float>(position) * c.frequencies.inverse[i];
        EXPECT_NEAR(table.cosines(position)[i], std::cos(angle) * c.frequencies.attention_factor, 0x1p-23);
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 3 * 32 + 64 + 32);
}

TEST(RopeFrequencies, ScaleOneIsTheDefault) {
  RopeConfig config;
  const std::vector<float> plain = rope_frequencies(config, 64).inverse;
  config.original_positions = 4096;
  for (const RopeType type : {RopeType::linear, RopeType::llama3, RopeType::yarn}) {
    config.type = type;
    const RopeFrequencies scaled = rope_frequencies(config, 64);
    EXPECT_EQ(scaled.attention_factor, 1.0f);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled.inverse[i], plain[i], plain[i] * 0x1p-22);
  }
}

TEST(RopeFrequencies, LatentScoresTakeMscaleAllDim) {
  RopeConfig config;
  EXPECT_EQ(latent_score_factor(config), 1.0);
  config = {.type = RopeType::yarn, .factor = 40.0, .original_positions = 4096};
  EXPECT_EQ(latent_score_factor(config), 1.0);
  config.mscale_all_dim = 1.0;
  EXPECT_NEAR(latent_score_factor(config), std::pow(0.1 * std::log(40.0) + 1.0, 2), 1e-14);
  config.mscale_all_dim = 0.707;
  EXPECT_NEAR(latent_score_factor(config), std::pow(0.0707 * std::log(40.0) + 1.0, 2), 1e-14);
  config.factor = 1.0;
  EXPECT_EQ(latent_score_factor(config), 1.0);
}

}  // namespace
}  // namespace r1::rope_config_test
