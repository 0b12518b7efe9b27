// formats/hub_files.h: the files of a model on the hub: the hub's list of them, which is untrusted, and the
// choice of those that r1 needs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/hub_name.h"
#include "formats/json.h"

namespace r1 {

struct HubFile {
  std::string path;   // below the model's folder: "config.json", "Q4_K_M/x-00001-of-00002.gguf"
  int64_t size = -1;  // bytes; -1: the list does not say
  // SHA-256 of a large file (64 digits), git's SHA-1 of a small one (40 digits); "": the list does not say.
  // It is also the file's name in the cache's blobs/.
  std::string hash;
  bool operator==(const HubFile&) const = default;
};

struct HubListing {
  std::string commit;
  std::vector<HubFile> files;
};

// Reads the answer of GET /api/models/REPO/revision/REVISION?blobs=true. Throws Error if it is not of that
// form, or if a path is absolute, has . or .. or an empty part, a backslash or a control character, occurs
// twice, or is also the folder of another: such a list is not followed at all.
HubListing read_hub_listing(const Json& json);

// Throws Error "source: ..." for a path that may not be below a model's folder.
void check_hub_path(std::string_view path, const std::string& source);

// A GGUF model among the files, perhaps in several pieces.
struct GgufChoice {
  std::string quant;               // "Q4_K_M", or the file's name without its end if that names no type
  std::vector<std::string> paths;  // in order; the first is the one to open
  int64_t pieces = 1;              // how many there should be
};
// Returns the GGUF models of a folder, sorted by name. Projectors of pictures (mmproj) and importance
// matrices are left out.
std::vector<GgufChoice> gguf_choices(const std::vector<std::string>& paths);
// Returns the choice of this quantisation, in any case; nullptr if there is none.
const GgufChoice* find_quant(const std::vector<GgufChoice>& choices, std::string_view quant);

// The files to download: a GGUF model, or a Hugging Face directory without its shards, which `index` lists.
struct HubSelection {
  std::vector<HubFile> files;
  std::string index;  // "model.safetensors.index.json" if the weights are in shards; else ""
  std::string gguf;   // the path to open; "": the folder
};
// Throws Error that lists the choices if the quantisation is missing or there are several, and one that says
// what is there if r1 cannot read the weights.
HubSelection select_files(const HubListing& listing, const HubName& name);

// Returns the shards that an index names. Throws Error for one that the list does not have.
std::vector<HubFile> select_shards(const Json& index, const HubListing& listing);

}  // namespace r1
