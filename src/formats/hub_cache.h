// formats/hub_cache.h: the folder of downloaded models, in the layout of the Python package huggingface_hub,
// so that both use each other's files:
//
//   CACHE/models--ORG--NAME/blobs/HASH                 a file's bytes; its name is its hash (hub_files.h)
//                           blobs/HASH.incomplete      the first bytes of a download that was cut
//                           snapshots/COMMIT/PATH      a link to ../../blobs/HASH
//                           refs/REVISION              a file with the commit that a branch or a tag had
//   CACHE/.locks/models--ORG--NAME/HASH.lock           held (flock) while HASH is written or removed
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/http_proxy.h"
#include "base/http_socket.h"
#include "formats/hub_files.h"
#include "formats/hub_name.h"

namespace r1 {

// Returns the cache's folder: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub. It need not exist. Throws Error if none of these is set and there is no HOME.
std::filesystem::path hub_cache_folder(const Environment& environment = {});
// Returns the folder above, which holds the token.
std::filesystem::path hub_home_folder(const Environment& environment = {});

// The paths of one model.
class HubRepoFolder {
 public:
  HubRepoFolder(std::filesystem::path cache, const std::string& repo);
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path blob(const std::string& hash) const { return path_ / "blobs" / hash; }
  std::filesystem::path snapshot(const std::string& commit) const { return path_ / "snapshots" / commit; }
  std::filesystem::path ref(const std::string& revision) const { return path_ / "refs" / revision; }
  std::filesystem::path lock(const std::string& hash) const { return locks_ / (hash + ".lock"); }
  const std::filesystem::path& locks() const { return locks_; }
  void create() const;  // the folders; throws Error

 private:
  std::filesystem::path path_, locks_;
};

// Makes the link snapshots/COMMIT/PATH -> blobs/HASH, in the place of whatever is there. Throws Error if a
// folder above it is a link, so that nothing is written outside the snapshot.
void link_into_snapshot(const HubRepoFolder& folder, const std::string& commit, const HubFile& file);

// True if a folder has config.json and all files of its safetensors weights.
bool is_whole_checkpoint(const std::filesystem::path& folder);

// Returns what a MODEL argument names in the cache: a folder with config.json and its weights, or a GGUF
// file. No value if it is not there, or not whole. Throws Error that lists the choices if the revision's
// snapshot has several GGUF models and none is named.
std::optional<std::filesystem::path> find_in_hub_cache(const HubName& name,
                                                       const std::filesystem::path& cache);

// A model in the cache.
struct CachedModel {
  HubName
      name;  // with the quantisation of a GGUF model; the revision is a ref, or the commit if none names it
  std::string commit;
  std::filesystem::path path;  // the folder or the GGUF file to open
  int64_t bytes = 0;           // of its files
  int64_t used = 0;            // the last time a file was read or written, in seconds since 1970
  bool whole = true;           // false: files are missing
};
// Returns all models, sorted by name. Folders that are not of the layout are skipped.
std::vector<CachedModel> list_hub_cache(const std::filesystem::path& cache);

// The effect of removing a model.
struct HubRemoval {
  std::vector<std::filesystem::path> links;  // in snapshots/
  std::vector<std::string> blobs;            // hashes that no other snapshot uses
  int64_t bytes = 0;                         // of these blobs and of downloads that were cut
  int64_t models = 0;
};
// Throws Error that lists the models of the cache if `name` is not there. Without a revision, all snapshots
// are meant; with a quantisation, only that GGUF model.
HubRemoval plan_removal(const HubName& name, const std::filesystem::path& cache);
// Removes it, and folders and refs that are empty or dangle then. Throws Error if another program is writing
// one of the blobs.
void remove_from_hub_cache(const HubName& name, const HubRemoval& removal,
                           const std::filesystem::path& cache);

// A lock file that is held until the destructor. Waits for another holder: `waiting` is called once before,
// and `stop` is asked ten times a second; if it returns true, HttpError (stopped) is thrown.
class HubLock {
 public:
  HubLock(const std::filesystem::path& path, const std::function<void()>& waiting,
          const std::function<bool()>& stop);
  // True if another program holds the lock now.
  static bool is_held(const std::filesystem::path& path);
  ~HubLock();
  HubLock(const HubLock&) = delete;
  HubLock& operator=(const HubLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace r1
