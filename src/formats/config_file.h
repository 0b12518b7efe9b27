// formats/config_file.h: TOML configuration, read strictly.
//
// Reading a key claims it. finish() refuses every key that nobody claimed and names the nearest key that was
// asked for, so the list of known keys is the code that reads them and cannot drift. Errors read "FILE:LINE:
// KEY REASON".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

class ConfigFile {
 public:
  static ConfigFile read(const std::filesystem::path& path);
  static ConfigFile parse(std::string_view text, const std::string& source);
  ConfigFile(ConfigFile&&) noexcept;
  ConfigFile& operator=(ConfigFile&&) noexcept;
  ~ConfigFile();

  // Keys are dotted: "rollout.max_tokens", "stage[0].name".
  bool has(std::string_view key) const;
  std::string text(std::string_view key);
  std::string text_or(std::string_view key, std::string_view fallback);
  // Returns one of `choices`; throws Error that lists them otherwise.
  std::string choice_or(std::string_view key, std::string_view fallback,
                        std::initializer_list<std::string_view> choices);
  int64_t integer(std::string_view key, int64_t low, int64_t high);
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t low, int64_t high);
  // No value if the file has none: for keys without a default, or whose default depends on more than the
  // file.
  std::optional<int64_t> integer_if(std::string_view key, int64_t low, int64_t high);
  std::optional<double> number_if(std::string_view key, double low, double high);
  double number_or(std::string_view key, double fallback, double low, double high);
  bool boolean_or(std::string_view key, bool fallback);
  std::vector<double> numbers_or(std::string_view key, std::vector<double> fallback);
  std::vector<std::string> texts_or(std::string_view key, std::vector<std::string> fallback);
  int64_t array_size(std::string_view key, bool required = true);  // of [[key]]; 0 if there is none
  // The whole subtree as JSON (the caller checks its members); null if there is none.
  Json subtree(std::string_view key);

  // Replaces a key's value by one from elsewhere (the command line, a recipe). If `noted` is set, it becomes
  // part of the annotated copy.
  void override_with(std::string_view key, Json value, bool noted = true);

  // Applies `--set KEY=VALUE`: the settings are as if the file had KEY = VALUE. VALUE is TOML; a word that
  // is not (countdown3, runs/a) is a string. It replaces whatever the file has at KEY, tables included.
  // Errors about the key name the option instead of a line. Throws Error if the assignment cannot be read.
  void set(std::string_view assignment);

  // Throws Error if a key has not been claimed.
  void finish() const;

  // Every key that was asked for, whether the file has it or not. Schemas are made of it.
  struct Asked {
    enum class Kind : uint8_t { text, integer, number, boolean, numbers, texts, tables, subtree };
    Kind kind = Kind::text;
    bool required = false;
    Json fallback{};     // if it is not required
    Json low{}, high{};  // of integer and number
    std::vector<std::string> choices{};
  };
  const std::map<std::string, Asked, std::less<>>& asked() const;
  // Throws Error at the key's line (or the file, if the key is missing).
  [[noreturn]] void fail(std::string_view key, std::string_view reason) const;
  const std::string& source() const;
  // Resolves a path in the file: a relative one counts from the file's folder.
  std::filesystem::path beside(const std::filesystem::path& path) const;
  // The same for the value of `key`: if set() gave it, a relative path counts from the working directory.
  std::filesystem::path beside(const std::filesystem::path& path, std::string_view key) const;
  // Every key that was asked for, with its value or its default: the meaning of the file, however it is
  // written. A key that has neither is left out.
  Json settings() const;
  // A copy of the file, to be kept with a run: its text below comments that name the file and the values that
  // were replaced. The copy is TOML again.
  std::string annotated_copy() const;
  static constexpr std::string_view kCopyOf = "# A copy of ";  // its first line, then source()
  // A line of the copy if there were any: the options by which the command line changed the file.
  static constexpr std::string_view kOptions = "# Options of the command: ";

 private:
  [[noreturn]] void fail_missing(std::string_view key) const;
  struct Impl;
  explicit ConfigFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
