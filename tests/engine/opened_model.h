// A copy of a shipped model whose chat template ends the prompt with <think>, as in R1's distilled models.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.h"
#include "formats/json.h"

namespace r1::test {

// `opening` is the text of a Jinja string.
inline std::filesystem::path opened_model(const std::string& shipped, const std::filesystem::path& to,
                                          const std::string& opening = "<think>") {
  std::filesystem::copy(std::filesystem::path(R1_SOURCE_DIR) / "models" / shipped, to,
                        std::filesystem::copy_options::recursive);
  Json config = read_json(to / "tokenizer_config.json");
  config.set("chat_template", config.get_string("chat_template") + "{% if add_generation_prompt %}{{ '" +
                                  opening + "' }}{% endif %}");
  write_file_atomically(to / "tokenizer_config.json", config.dump());
  return to;
}

}  // namespace r1::test
