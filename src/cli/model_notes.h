// cli/model_notes.h: a model's description of itself in its directory, for a conversation.
#pragma once

#include <filesystem>
#include <string>

namespace r1 {

struct ModelNotes {
  std::string about;  // the first paragraph of README.md, on one line; "" if there is none
  // From the object "r1" in generation_config.json, which training copies from a base to the new model:
  bool single_turn =
      false;         // {"single_turn": true}: trained on single questions, earlier turns only confuse it
  std::string task;  // {"task": "countdown"}: the only task that it knows; "" if not stated
  bool knows_only_countdown() const { return task == "countdown"; }
};

ModelNotes read_model_notes(const std::filesystem::path& directory);

}  // namespace r1
