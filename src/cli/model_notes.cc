#include "cli/model_notes.h"

#include <sstream>

#include "base/ascii.h"
#include "base/file.h"
#include "formats/json.h"

namespace r1 {
namespace {

// Returns the first paragraph. Headings, front matter and HTML are skipped.
std::string first_paragraph(const std::string& markdown) {
  std::istringstream in(markdown);
  std::string line, paragraph;
  bool front_matter = false, first = true;
  while (std::getline(in, line)) {
    line = std::string(trim(line));
    const bool fence = line == "---" && (first || front_matter);
    first = false;
    if (fence) {
      front_matter = !front_matter;
      continue;
    }
    if (front_matter || line.starts_with("#") || line.starts_with("<")) continue;
    if (line.empty() && !paragraph.empty()) break;
    if (!line.empty()) paragraph += (paragraph.empty() ? "" : " ") + line;
  }
  return paragraph;
}

}  // namespace

ModelNotes read_model_notes(const std::filesystem::path& directory) {
  ModelNotes notes;
  std::error_code none;
  if (std::filesystem::is_regular_file(directory / "README.md", none))
    notes.about = first_paragraph(read_file(directory / "README.md"));
  if (!std::filesystem::is_regular_file(directory / "generation_config.json", none)) return notes;
  const Json config = read_json(directory / "generation_config.json");
  const Json* own = config.is_object() ? config.find("r1") : nullptr;
  if (own == nullptr) return notes;
  notes.single_turn = own->get_bool_or("single_turn", false);
  notes.task = own->get_string_or("task", "");
  return notes;
}

}  // namespace r1
