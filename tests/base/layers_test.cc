// The layer rule: a file of src/LAYER may include LAYER and the layers below it in DESIGN's list.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
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

// Calls use(path relative to src/, line number, line) for every line of src/.
void each_line(const std::function<void(const std::string&, int, const std::string&)>& use) {
  const fs::path root = fs::path(R1_SOURCE_DIR) / "src";
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    std::string text;
    for (int line = 1; std::getline(in, text); ++line)
      use(fs::relative(entry.path(), root).string(), line, text);
  }
}

// True if a line reaches for a tensor's memory. `config.data` and its like are settings of a run.
bool touches_tensor_memory(const std::string& line) {
  static const std::regex typed(R"((\.|->)(f32|bf16|i32|values)\(\))");
  static const std::regex scratch(R"(\barena\.(array|take)\b|\b(as_f32|weight_f32|matmul_into)\()");
  static const std::regex data(R"(([\w\])]*)(\.|->)data\b(?!\s*\())");
  static const std::set<std::string> settings = {"", "config", "c", "f", "grpo", "t", "teacher"};
  if (line.find_first_not_of(' ') == line.find("//")) return false;
  if (line.find("data") != std::string::npos) {
    for (std::sregex_iterator at(line.begin(), line.end(), data), end; at != end; ++at)
      if (!settings.contains((*at)[1].str())) return true;
  }
  if (line.find('(') == std::string::npos) return false;
  return std::regex_search(line, typed) || std::regex_search(line, scratch);
}

TEST(Layers, NothingAboveOpsTouchesTensorMemory) {
  const std::set<std::string> above = {"model", "engine", "train", "eval", "recipe", "server", "cli"};
  EXPECT_TRUE(touches_tensor_memory("  float* x = hidden.f32();"));
  EXPECT_TRUE(touches_tensor_memory("  std::memset(p->grad.data, 0, p->grad.bytes());"));
  EXPECT_TRUE(touches_tensor_memory("  copy(state.tensor().data);"));
  EXPECT_TRUE(touches_tensor_memory("  copy(buffers[i].data);"));
  EXPECT_TRUE(touches_tensor_memory("  float* logits = ctx.arena.array<float>(V);"));
  EXPECT_FALSE(touches_tensor_memory("  use(tokens.data(), config.data.files);"));
  EXPECT_FALSE(touches_tensor_memory("  .data = config.data,"));
  EXPECT_FALSE(touches_tensor_memory("  // x.data is a pointer"));
  each_line([&](const std::string& file, int line, const std::string& text) {
    if (!above.contains(file.substr(0, file.find('/'))) || file.ends_with(".js")) return;
    EXPECT_FALSE(touches_tensor_memory(text))
        << file << ":" << line << " touches a tensor's memory: call an op, or tensor/transfer.h: " << text;
  });
}

TEST(Layers, KernelsRecordNothingAndMakeNoOutputs) {
  int kernels = 0;
  each_line([&](const std::string& file, int line, const std::string& text) {
    static const std::regex kernel(R"(ops/.*_(cpu\.cc|cuda\.cu|sm90\.cu))");
    if (!std::regex_match(file, kernel)) return;
    kernels += line == 1 ? 1 : 0;
    static const std::regex recorded(R"(->record\(|\.output\(|R1_(CPU_)?BACKEND\()");
    EXPECT_FALSE(std::regex_search(text, recorded))
        << file << ":" << line << " belongs into the op's own file: " << text;
  });
  EXPECT_GE(kernels, 7);
}

// Two types of one name in one namespace break the program in silence: the linker keeps one of their functions.
TEST(Layers, TypesOfHeadersHaveNamesOfTheirOwn) {
  static const std::regex type(R"(^(?:struct|class) (\w+)(?: final)?(?: :| \{).*)");
  std::map<std::string, std::string> seen;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(R1_SOURCE_DIR) / "src")) {
    if (entry.path().extension() != ".h") continue;
    std::ifstream in(entry.path());
    std::string space;
    for (std::string text; std::getline(in, text);) {
      if (text.starts_with("namespace ")) space = text;
      std::smatch found;
      if (!std::regex_match(text, found, type)) continue;
      const auto [at, is_new] = seen.try_emplace(space + found[1].str(), entry.path().string());
      EXPECT_TRUE(is_new) << found[1] << " is in " << entry.path() << " and in " << at->second;
    }
  }
  EXPECT_GE(seen.size(), 200u);
}

TEST(Layers, HeavyHeadersStandInOneFileEach) {
  const std::map<std::string, std::string> heavy = {{"CLI/CLI.hpp", "program.h"},
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
