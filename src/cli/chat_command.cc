#include "cli/chat_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/ascii.h"
#include "base/error.h"
#include "base/text_util.h"

namespace r1 {
namespace {

using Kind = ChatCommand::Kind;

struct Row {
  Kind kind;
  const char* name;
  const char* argument;  // empty if there is none
  const char* help;
};

constexpr Row kRows[] = {
    {Kind::help, "help", "", "this list"},
    {Kind::more, "more", "", "go on with an answer that was cut or stopped"},
    {Kind::clear, "clear", "", "forget the conversation (the system prompt stays)"},
    {Kind::system, "system", " [TEXT]", "set the system prompt; without TEXT: show it; \"\": none"},
    {Kind::seed, "seed", " [N]", "answer the next question with seed N; without N: show the last seed"},
    {Kind::save, "save", " FILE",
     "write the conversation as a JSONL row of messages; -f FILE: replace a file"},
    {Kind::exit, "exit", "", "end; Ctrl-D does, too"},
};

}  // namespace

ChatCommand read_chat_command(std::string_view message) {
  if (!message.starts_with('/')) return {.kind = Kind::question, .argument = std::string(message)};
  const size_t end = std::min(message.find_first_of(" \t\r\n"), message.size());
  const std::string_view name = message.substr(1, end - 1);
  if (name.empty() || !is_word(name)) return {.kind = Kind::question, .argument = std::string(message)};
  const std::string argument(trim(message.substr(end)));
  std::vector<std::string> names;
  for (const Row& row : kRows) {
    names.emplace_back(row.name);
    if (name != row.name) continue;
    if (*row.argument == '\0' && !argument.empty())
      throw Error(fmt::format("/{} takes nothing after it", row.name));
    return {.kind = row.kind, .argument = argument};
  }
  const std::string near = nearest_name(name, names);
  throw Error(fmt::format("/{} is no command ({}; begin with a space to ask it as it is)", name,
                          near.empty() ? "/help lists them" : "did you mean /" + near + "?"));
}

std::string chat_help() {
  std::string out;
  for (const Row& row : kRows)
    out += fmt::format("  {:<16} {}\n", fmt::format("/{}{}", row.name, row.argument), row.help);
  return out +
         "  A line that ends with \\ goes on in the next one; so does all between two lines of \"\"\".\n"
         "  Ctrl-C stops an answer; the arrow keys bring back earlier lines.\n";
}

}  // namespace r1
