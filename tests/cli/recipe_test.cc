// `r1 recipe` as a user calls it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/cli_test_util.h"

namespace r1::recipe_test {
namespace {

TEST(CliRecipe, TheCommandForOptionalStagesIsWholeAndWorks) {
  const std::string exam =
      "kind = \"eval\"\nmodel = \"" + std::string(R1_SOURCE_DIR) +
      "/models/r1-nano-base\"\ntask = \"countdown3\"\nproblems = 2\nsamples = 1\nmax_tokens = 9\n";
  const std::string recipe =
      test::write("it's all.toml", "name = \"t\"\n[[stage]]\nname = \"first\"\n" + exam +
                                       "[[stage]]\nname = \"more\"\noptional = true\n" + exam);
  const std::filesystem::path out = test::scratch() / "left out";
  const auto result = test::r1_run({"recipe", recipe, "--out", out.string(), "--seed", "4"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string lead = "optional stages left out: 1; to run them too: ";
  const size_t at = result.err.find(lead);
  ASSERT_NE(at, std::string::npos) << result.err;
  const size_t begin = at + lead.size();
  const std::string command = result.err.substr(begin, result.err.find('\n', begin) - begin);
  EXPECT_FALSE(read_json(out / "recipe.json").at("stages").contains("more"));
  ASSERT_EQ(std::system((command + " 2>/dev/null").c_str()), 0) << command;
  EXPECT_TRUE(read_json(out / "recipe.json").at("stages").contains("more")) << command;
  EXPECT_EQ(read_json(out / "recipe.json").get_int("seed"), 4);
}

}  // namespace
}  // namespace r1::recipe_test
