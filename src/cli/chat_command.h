// cli/chat_command.h: parses a message typed in a conversation: a question, or a command that begins with
// "/".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace r1 {

struct ChatCommand {
  enum class Kind : uint8_t { question, help, clear, system, seed, save, more, exit };
  Kind kind = Kind::question;
  std::string argument;  // the argument; for a question, its text
};

// "/" and letters, then white space or the end, is a command; anything else is a question ("/etc/passwd has
// ..." and " /help" too). Throws Error for an unknown command, with the nearest known one, and for an
// argument that a command does not take.
ChatCommand read_chat_command(std::string_view message);

// Returns one line per command.
std::string chat_help();

}  // namespace r1
