// Helpers of the trainer's tests: the shipped base, short configurations, silent reporting, a folder per
// test.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "formats/config_file.h"
#include "recipe/stages.h"
#include "train/reporter.h"

namespace r1 {

class SilentReporter : public Reporter {
 public:
  void step(const Json& metrics, int64_t) override { rows.push_back(metrics); }
  void note(const std::string& line) override { notes.push_back(line); }
  std::vector<Json> rows;
  std::vector<std::string> notes;
};

class RunFolder : public testing::Test {
 protected:
  RunFolder() {
    static int count = 0;
    root = std::filesystem::temp_directory_path() /
           ("r1_train_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(root);
  }
  ~RunFolder() override { std::filesystem::remove_all(root); }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    write_file_atomically(root / name, text);
    return root / name;
  }
  static std::string base() { return R1_SOURCE_DIR "/models/r1-nano-base"; }
  static std::string weights_of(const std::filesystem::path& model) {
    return read_file(model / "model.safetensors");
  }

  // A GRPO run of a second or two; `more` goes at the end, "[section]" lines included.
  std::filesystem::path grpo_config(const std::string& name, const std::string& out,
                                    const std::string& rollout = "", const std::string& more = "") const {
    return write(
        name, "name = \"t\"\nseed = 5\nmodel = \"" + base() + "\"\nout = \"" + (root / out).string() +
                  "\"\n[data]\ntask = \"countdown3\"\n[rollout]\nprompts = 3\ngroup = 6\nmax_tokens = 40\n" +
                  rollout +
                  "[optimizer]\nlr = 1e-3\nsteps = 4\n[batch]\nmicro = 300\n[checkpoint]\nevery = "
                  "1\n[log]\nsamples_every = 1\n" +
                  more);
  }

  // The text of such a file whose answers are all cut off, and masked if loss.overlong is "mask". The schedule would
  // move the weights if a step counted as an update.
  static std::string with_nothing_to_learn(std::string config) {
    config.replace(config.find("max_tokens = 40"), 15, "max_tokens = 1");
    config.replace(config.find("steps = 4"), 9, "steps = 4\nwarmup = 4\nweight_decay = 0.1");
    return config;
  }

  std::filesystem::path root;
};

}  // namespace r1
