// cli/model_notes.h: what a model's directory says about the model itself, for a conversation.
#pragma once

#include <filesystem>
#include <string>

namespace r1 {

struct ModelNotes {
  std::string about;         // the first paragraph of README.md, on one line; "" if there is none
  // Of the object "r1" in generation_config.json, which training copies from a base to what it makes:
  bool single_turn = false;  // {"single_turn": true}: trained on single questions, earlier turns only confuse it
  std::string task;          // {"task": "countdown"}: the only thing it knows; "" if it does not say
  bool knows_only_countdown() const { return task == "countdown"; }
};

ModelNotes read_model_notes(const std::filesystem::path& directory);

}  // namespace r1
