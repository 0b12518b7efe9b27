// The program's help is true.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>

#include "tests/cli/cli_test_util.h"

namespace r1::help_test {
namespace {

using test::r1_run;

// Returns the first words of the lines in a section of --help.
std::vector<std::string> listed(const std::string& help, const std::string& section) {
  std::vector<std::string> words;
  const size_t begin = help.find(section + ":\n");
  if (begin == std::string::npos) return words;
  size_t at = help.find('\n', begin) + 1;
  while (at < help.size() && help[at] == ' ') {
    if (help.compare(at, 3, "   ") != 0)
      words.push_back(help.substr(at + 2, help.find_first_of(" \n", at + 2) - at - 2));
    at = std::min(help.find('\n', at), help.size() - 1) + 1;
  }
  return words;
}

const std::map<std::string, std::string>& helps() {  // by command
  static const std::map<std::string, std::string> all = [] {
    std::map<std::string, std::string> out;
    for (const std::string& command : listed(r1_run({"--help"}).out, "Commands")) {
      const auto result = r1_run({command, "--help"});
      EXPECT_EQ(result.status, 0) << command << result.err;
      out[command] = result.out;
      for (const std::string& part : listed(result.out, "Commands"))  // r1 data check
        out[command] += r1_run({command, part, "--help"}).out;
    }
    return out;
  }();
  return all;
}

struct Option {
  std::string name, type;  // "--seed", "UINT"; flags have no type
};

std::vector<Option> options_of(const std::string& help) {
  std::vector<Option> options;
  static const std::regex line(R"(\n  (?:-\w,)?(--[a-z0-9-]+)(?: (TEXT|INT|UINT|FLOAT))?(?= |\n))");
  for (std::sregex_iterator at(help.begin(), help.end(), line), end; at != end; ++at)
    options.push_back({(*at)[1], (*at)[2]});
  return options;
}

bool has(const std::string& command, const std::string& option) {
  const std::vector<Option> options = options_of(helps().at(command));
  return std::ranges::find(options, option, &Option::name) != options.end();
}

TEST(CliHelp, BareProgramPrintsTheHelp) {
  const auto bare = r1_run({});
  EXPECT_EQ(bare.status, 0);
  EXPECT_EQ(bare.out, r1_run({"--help"}).out);
  EXPECT_EQ(helps().size(), 29u);
  for (const char* name :
       {"run", "generate", "score", "tokenize", "template", "verify", "pretrain", "grpo", "recipe"})
    EXPECT_TRUE(helps().contains(name)) << name;
}

TEST(CliHelp, VersionNamesNumericsAndCompilerAndNoTime) {
  const auto result = r1_run({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(std::regex_match(
      result.out,
      std::regex(
          R"(r1 \d+\.\d+\.\d+ \(numerics cpu-f32, cpu-bf16, cpu-avx512bf16, cpu-q8act, cuda-bf16; (gcc|clang) .+ on \S+\)\n)")))
      << result.out;
}

TEST(CliHelp, UsageIsWhatOneTypes) {
  for (const auto& [command, help] : helps())
    EXPECT_NE(help.find("Usage: r1 " + command + " [options]"), std::string::npos) << help;
  EXPECT_NE(helps().at("run").find("r1 run [options] [MODEL]"), std::string::npos) << "MODEL has a default";
  EXPECT_NE(helps().at("grpo").find("r1 grpo [options] CONFIG"), std::string::npos) << helps().at("grpo");
}

// A listed option is read: a value that cannot be parsed is refused under the option's name.
TEST(CliHelp, EveryListedOptionIsRead) {
  for (const auto& [command, help] : helps()) {
    for (const auto& [name, type] : options_of(help)) {
      if (type.empty() || type == "TEXT") continue;
      EXPECT_ONE_LINE_ERROR(r1_run({command, name, "nonsense"}), name + " is nonsense; it must be ");
    }
  }
}

// The options of the machine are listed only for commands in which they have an effect, and are unknown
// elsewhere.
TEST(CliHelp, OptionsOfTheMachineAreWhereTheyHaveAnEffect) {
  const std::set<std::string> models{"run", "generate", "score", "eval", "imatrix", "serve", "plan", "bench"};
  const std::set<std::string> quantising{"run", "generate", "score", "eval", "plan", "bench"};
  const std::set<std::string> trainings{"pretrain", "sft", "grpo", "ppo", "distill", "recipe", "preflight"};
  for (const auto& [command, help] : helps()) {
    const bool model = models.contains(command), training = trainings.contains(command);
    const bool threads = model || training || command == "doctor" || command == "reward" ||
                         command == "convert" || command == "quantize";
    EXPECT_EQ(has(command, "--dtype"), model || command == "convert") << command;
    EXPECT_EQ(has(command, "--quantize"), quantising.contains(command)) << command;
    EXPECT_EQ(has(command, "--numerics"), model) << command;
    EXPECT_EQ(has(command, "--memory-limit"), model || training) << command;
    EXPECT_EQ(has(command, "--threads"), threads) << command;
    EXPECT_EQ(has(command, "--device"),
              threads && command != "reward" && command != "convert" && command != "quantize")
        << command;
    if (threads) continue;
    for (const char* option : {"--dtype", "--numerics", "--memory-limit", "--threads", "--device"})
      EXPECT_ONE_LINE_ERROR(r1_run({command, option, "1"}), std::string("unknown option ") + option);
  }
  EXPECT_ONE_LINE_ERROR(r1_run({"grpo", "x.toml", "--dtype", "bf16"}), "in its configuration");
}

// Every command line in the documents names an existing command with options that it has.
TEST(CliHelp, CommandsOfTheDocumentsAreKnown) {
  static const std::regex command_line(R"((?:build/|`|    |\./|;  )r1 ([a-z|]+)([^`\n#;]*))");
  static const std::regex option(R"(--[a-z][a-z0-9-]*)");
  int found = 0;
  for (const char* name : {"README.md", "docs/guide.md", "docs/numerics.md"}) {
    const std::string text = read_file(std::filesystem::path(R1_SOURCE_DIR) / name);
    for (std::sregex_iterator at(text.begin(), text.end(), command_line), end; at != end; ++at) {
      const std::string rest = (*at)[2];
      std::string commands = (*at)[1];
      commands += '|';
      for (size_t begin = 0; begin < commands.size(); begin = commands.find('|', begin) + 1) {
        const std::string command = commands.substr(begin, commands.find('|', begin) - begin);
        if (command.empty()) continue;
        ASSERT_TRUE(helps().contains(command)) << name << ": " << at->str();
        ++found;
        for (std::sregex_iterator o(rest.begin(), rest.end(), option); o != end; ++o) {
          if (o->str() != "--help") {
            EXPECT_TRUE(has(command, o->str())) << name << ": " << at->str() << ": " << o->str();
          }
        }
      }
    }
  }
  EXPECT_GT(found, 25) << "the documents are no longer read";
}

}  // namespace
}  // namespace r1::help_test
