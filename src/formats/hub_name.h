// formats/hub_name.h: names of models on a Hugging Face hub: org/name[:quant][@revision].
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace r1 {

inline constexpr const char* kHubMain = "main";

struct HubName {
  std::string repo;      // "org/name"
  std::string quant;     // of a GGUF file: "Q4_K_M"; "": none was named
  std::string revision;  // a branch, a tag or a commit; "": main

  std::string text() const;  // as it is written
  // The revision to ask for.
  std::string revision_or_main() const { return revision.empty() ? kHubMain : revision; }
};

// Returns no value if `text` cannot be such a name: a path such as ./x or a/b/c, or characters that the hub
// does not allow.
std::optional<HubName> read_hub_name(std::string_view text);
// Reads a name as read_hub_name() does, but throws Error that says how a name looks.
HubName hub_name_of(std::string_view text);

// True for 40 hexadecimal digits in lower case, the name of a commit.
bool is_hub_commit(std::string_view text);
// True for so many hexadecimal digits in lower case.
bool is_hex(std::string_view text, size_t digits);

}  // namespace r1
