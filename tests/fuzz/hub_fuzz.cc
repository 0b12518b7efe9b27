// Any bytes as a hub's list of files, or as the index of shards, give an Error or files that stay below the
// model's folder, each once, with hashes that can be names in the cache.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string_view>

#include "base/error.h"
#include "formats/hub_files.h"
#include "formats/hub_name.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_error(const r1::Error& error) {
  const std::string_view why = error.what();
  require(!why.empty() && why.find('\n') == std::string_view::npos);
}

void check_file(const r1::HubFile& file) {
  const std::filesystem::path path = file.path;
  require(path.is_relative() && !path.empty() && path.lexically_normal() == path);
  for (const auto& part : path) require(part != ".." && part != ".");
  require(file.hash.empty() || r1::is_hex(file.hash, 64) || r1::is_hex(file.hash, 40));
  require(file.size >= -1);
}

void select(const r1::HubListing& listing, const char* name) {
  try {
    const r1::HubSelection chosen = r1::select_files(listing, r1::hub_name_of(name));
    require(!chosen.files.empty());
    std::set<std::string> names;
    for (const r1::HubFile& file : chosen.files) require(names.insert(file.path).second);
    require(chosen.gguf.empty() || names.contains(chosen.gguf));
  } catch (const r1::Error& error) {
    check_error(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  r1::HubListing listing;
  try {
    const r1::Json json = r1::parse_json(text, "fuzz");
    if (json.is_object() && json.contains("weight_map")) {
      listing.files = {{"a.safetensors", 1, ""}, {"b/c.safetensors", 1, ""}};
      for (const r1::HubFile& file : r1::select_shards(json, listing)) check_file(file);
    }
    listing = r1::read_hub_listing(json);
  } catch (const r1::Error& error) {
    check_error(error);
    return 0;
  }
  require(r1::is_hub_commit(listing.commit));
  for (const r1::HubFile& file : listing.files) check_file(file);
  select(listing, "o/n");
  select(listing, "o/n:Q4_K_M");
  return 0;
}
