// cli/command_line.cc: parses the command line and runs the command; the words for what is wrong with it.
#include "cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/output.h"
#include "cli/program.h"
#include "tensor/numerics.h"

namespace r1 {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif
#if defined(__aarch64__)
constexpr const char* kMachine = "on arm64";
#else
constexpr const char* kMachine = "on x86-64";
#endif

}  // namespace

void Program::check_command(int argc, char** argv) const {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands(nullptr)) names.push_back(sub->get_name());
  if (std::ranges::find(names, argv[1]) != names.end()) return;
  throw Error("unknown command " + std::string(argv[1]) +
              hint(nearest_name(argv[1], names), "r1 --help lists the commands"));
}

const CLI::App& Program::named() const {
  const auto given = app.get_subcommands();
  return given.empty() ? app : *given.front();
}

std::string Program::version_text() {
  std::vector<std::string_view> numerics;
  for (const Numerics n : kAllNumerics) numerics.push_back(name_of(n));
  return fmt::format("r1 {} (numerics {}; {} {})", R1_VERSION, fmt::join(numerics, ", "), kCompiler,
                     kMachine);
}

std::string Program::hint(const std::string& near, const std::string& otherwise) {
  return near.empty() ? " (" + otherwise + ")" : " (did you mean " + near + "?)";
}

std::string Program::how_to_list() const {
  return "r1 " + (&named() == &app ? "" : named().get_name() + " ") + "--help lists the options";
}

// CLI11's messages begin with the option's name, mostly.
std::string Program::words_for(const CLI::ParseError& e) const {
  const std::string text = e.what();
  const std::string name = text.substr(0, text.find_first_of(": "));
  const std::string last = text.substr(text.rfind(' ') + 1);
  const auto is = [&]<class Kind>(std::type_identity<Kind>) {
    return dynamic_cast<const Kind*>(&e) != nullptr;
  };
  if (is(std::type_identity<CLI::ExtrasError>())) return unknown_argument();
  if (is(std::type_identity<CLI::ConversionError>())) return wrong_value(text);
  if (is(std::type_identity<CLI::ValidationError>()))
    return text.substr(std::min(text.find(": ") + 2, text.size()));
  if (is(std::type_identity<CLI::ArgumentMismatch>()))
    return name + (text.ends_with("missing") ? " needs a value" : " is given more than once");
  if (is(std::type_identity<CLI::ExcludesError>()))
    return "give either " + name + " or " + last + ", not both";
  if (is(std::type_identity<CLI::RequiresError>())) return name + " is only for " + last;
  if (is(std::type_identity<CLI::RequiredError>())) {
    const std::vector<std::string> unknown = app.remaining(true);
    const auto is_option = [](const std::string& word) { return word.starts_with('-'); };
    if (&named() == &app || std::ranges::any_of(unknown, is_option)) return unknown_argument();
    return "r1 " + named().get_name() + " needs " + name + " (" + how_to_list() + ")";
  }
  return text + " (" + how_to_list() + ")";
}

std::string Program::unknown_argument() const {
  std::vector<std::string> unknown = app.remaining(true);
  std::ranges::stable_partition(unknown, [](const std::string& word) { return word.starts_with('-'); });
  const std::string word = unknown.empty() ? "" : unknown.front();
  if (!word.starts_with('-')) return "unexpected argument " + shell_word(word) + " (" + how_to_list() + ")";
  std::vector<std::string> names;
  for (const CLI::Option* option : named().get_options()) {
    for (const std::string& n : option->get_lnames()) names.push_back("--" + n);
  }
  const std::string given = word.substr(0, word.find('='));
  return "unknown option " + given + hint(nearest_name(given, names), how_to_list());
}

// "Could not convert: --top-p = much"
std::string Program::wrong_value(const std::string& text) {
  const size_t begin = text.find("--"), equals = text.find(" = ");
  if (begin == std::string::npos || equals == std::string::npos) return text;
  const std::string name = text.substr(begin, equals - begin);
  return name + " is " + shell_word(text.substr(equals + 3)) + "; it must be a number";
}

int run_command_line(int argc, char** argv) {
  Program program;
  if (argc < 2) {
    write_stdout(program.app.help());
    return 0;
  }
  program.check_command(argc, argv);
  for (int i = 0; i < argc; ++i) program.command_line += (i > 0 ? " " : "") + shell_word(argv[i]);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App& named = program.named();
    write_stdout(&named == &program.app ? named.help() : named.help("r1"));
    return 0;
  } catch (const CLI::CallForVersion&) {
    write_stdout(Program::version_text() + "\n");
    return 0;
  } catch (const CLI::ParseError& e) {
    throw Error(program.words_for(e));
  }
  return program.chosen();
}

}  // namespace r1
