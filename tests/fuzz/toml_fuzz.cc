// The readers of both kinds of run accept any configuration file or throw an Error of one line.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "train/grpo.h"
#include "train/pretrain.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto one_line = [](const r1::Error& e) {
    R1_CHECK(std::strchr(e.what(), '\n') == nullptr, e.what());
  };
  try {
    r1::ConfigFile file = r1::ConfigFile::parse(text, "fuzz.toml");
    (void)r1::read_grpo_config(file);
    file.finish();
  } catch (const r1::Error& e) {
    one_line(e);
  }
  try {
    r1::ConfigFile file = r1::ConfigFile::parse(text, "fuzz.toml");
    (void)r1::read_pretrain_config(file);
    (void)file.subtree("model.config").dump();
    file.finish();
  } catch (const r1::Error& e) {
    one_line(e);
  }
  return 0;
}
