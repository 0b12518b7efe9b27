// The layer rule: a file of src/LAYER may include LAYER and the layers below it in DESIGN's list.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// The layers in order from the bottom up.
const std::vector<std::string> kLayers = {"base",  "tensor", "ops",    "dist",   "formats",
                                          "text",  "model",  "data",   "reward", "engine",
                                          "train", "eval",   "recipe", "server", "cli"};

int rank_of(const std::string& layer) {
  const auto at = std::ranges::find(kLayers, layer);
  return at == kLayers.end() ? -1 : static_cast<int>(at - kLayers.begin());
}

struct Include {
  fs::path file;
  int line = 0;
  std::string layer, target;
};

std::vector<Include> project_includes() {
  std::vector<Include> found;
  const fs::path root = fs::path(R1_SOURCE_DIR) / "src";
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    const std::string layer = fs::relative(entry.path(), root).begin()->string();
    std::ifstream in(entry.path());
    std::string text;
    for (int line = 1; std::getline(in, text); ++line) {
      if (text.rfind("#include \"", 0) != 0) continue;
      const size_t begin = text.find('"') + 1;
      found.push_back({entry.path(), line, layer, text.substr(begin, text.find('"', begin) - begin)});
    }
  }
  return found;
}

TEST(Layers, IncludesGoDownOnly) {
  const std::vector<Include> includes = project_includes();
  EXPECT_GT(includes.size(), 200u);
  for (const Include& i : includes) {
    const std::string target = i.target.substr(0, i.target.find('/'));
    ASSERT_GE(rank_of(i.layer), 0) << i.file << " lies in no known layer";
    if (target == "hwy") continue;  // Highway requires quotes around its own header
    ASSERT_GE(rank_of(target), 0) << i.file << ":" << i.line << ": " << i.target << " is in no known layer";
    EXPECT_LE(rank_of(target), rank_of(i.layer))
        << i.file << ":" << i.line << " includes " << i.target << ", which lies above it";
    const bool side = (i.layer == "train" && target == "eval") || (i.layer == "eval" && target == "train");
    EXPECT_FALSE(side) << i.file << ":" << i.line << ": train and eval do not know each other";
  }
}

TEST(Layers, HeavyHeadersStandInOneFileEach) {
  const std::map<std::string, std::string> heavy = {{"CLI/CLI.hpp", "main.cc"},
                                                    {"toml++/toml.h", "config_file.cc"}};
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(R1_SOURCE_DIR) / "src")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    for (std::string text; std::getline(in, text);) {
      for (const auto& [header, file] : heavy) {
        if (text.find("#include <" + header) == std::string::npos) continue;
        EXPECT_EQ(entry.path().filename().string(), file) << header << " is compiled twice";
      }
    }
  }
}

TEST(Layers, FilesStayReadable) {
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(R1_SOURCE_DIR) / "src")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    int lines = 0;
    for (std::string text; std::getline(in, text);) ++lines;
    EXPECT_LE(lines, 600) << entry.path();
  }
}

}  // namespace
