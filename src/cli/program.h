// cli/program.h: the command line: the options of every subcommand, and the words for what is wrong with it.
// Private to command_line.cc and program.cc, the only files that include CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace r1 {

// Which options of the machine a command has: those that it uses, and no others.
enum class Machine : uint8_t { none, threads, doctor, training, model };

// Subcommands: each adds its options and says what is to be called.
struct Program {
  std::string command_line;
  CLI::App app{"r1: trains and runs DeepSeek-R1-style reasoning models.", "r1"};
  std::function<int()> chosen;

  RunOptions run;
  GenerateOptions generate;
  ScoreOptions score;
  ConvertOptions convert;
  QuantizeOptions quantize;
  ImatrixOptions imatrix;
  TokenizeOptions tokenize;
  TemplateOptions chat_template;
  VerifyOptions verify;
  RewardOptions reward;
  std::array<TrainCommandOptions, 5> train;
  RecipeCommandOptions recipe;
  PreflightOptions preflight;
  SamplesOptions samples;
  EvalCommandOptions eval;
  DataCheckOptions data_check;
  DataShowOptions data_show;
  ReportOptions report;
  SchemaOptions schema;
  DoctorOptions doctor;
  PullCommandOptions pull;
  ListOptions list;
  RmOptions rm;
  PlanOptions plan;
  BenchOptions bench;
  ServeOptions serve;

  Program();

  // Throws Error for a command that is not known: CLI11 would only say that a subcommand is missing.
  void check_command(int argc, char** argv) const;
  // The command that was named, or the program.
  const CLI::App& named() const;
  // Returns what is wrong with the command line, in words for those who do not know CLI11.
  std::string words_for(const CLI::ParseError& e) const;
  static std::string version_text();

 private:
  // `json`: what --json does; "": the output is JSON with and without it.
  template <class Options>
  CLI::App* add(const char* name, const char* help, Options& options, int (*call)(const Options&),
                Machine machine, const char* json);
  static void add_model(CLI::App* sub, std::string& model, const char* help = nullptr);
  static void add_set(CLI::App* sub, std::vector<std::string>& set, const char* help);
  void add_run();
  void add_using();
  void add_converting();
  void add_serve();
  void add_tools();
  void add_data();
  void add_hub();
  void add_measuring();
  void add_help();
  void add_training();

  static std::string hint(const std::string& near, const std::string& otherwise);
  std::string how_to_list() const;
  std::string unknown_argument() const;
  static std::string wrong_value(const std::string& text);
};

}  // namespace r1
