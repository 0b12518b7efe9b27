// formats/hub.h: downloads models from a Hugging Face hub (huggingface.co, or a mirror with the same API)
// into the cache (hub_cache.h).
//
//   GET ENDPOINT/api/models/REPO/revision/REVISION?blobs=true     the files, with sizes and hashes (hub_files.h)
//   GET ENDPOINT/REPO/resolve/COMMIT/PATH                         a file, mostly by a redirect to another host
//
// A large file comes in ranges over several connections; its first bytes on disk are always whole, so that a
// download goes on where it was cut, also one of huggingface_hub. Every file's hash is checked before it gets
// its name, and a model's links appear only when all of its files are there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/http_client.h"
#include "base/http_proxy.h"
#include "formats/hub_cache.h"
#include "formats/hub_files.h"
#include "formats/hub_name.h"

namespace r1 {

struct HubSettings {
  HttpUrl endpoint;                  // HF_ENDPOINT; default https://huggingface.co
  std::string token;                 // HF_TOKEN, or the file HF_TOKEN_PATH or HF_HOME/token; "": none
  std::filesystem::path token_file;  // where that file is, or would be
  bool offline = false;              // HF_HUB_OFFLINE
  std::filesystem::path cache;
};
// Throws Error for a bad endpoint.
HubSettings hub_settings(const Environment& environment = {});

struct PullOptions {
  int connections = 8;
  int64_t chunk_bytes = int64_t{8} << 20;  // of a range; twice as many ranges as connections are in memory
  double backoff_s = 0.5;                  // see HttpOptions
  std::function<bool()> stop;              // see HttpOptions
};

// Follows a pull. Calls come from one thread, but for bytes().
class PullObserver {
 public:
  virtual ~PullObserver() = default;
  // Called before the download: `present` bytes of `total` are here already.
  virtual void begin(int64_t total, int64_t present, int64_t files) = 0;
  virtual void file(const std::string& path, int64_t bytes) = 0;  // begins to come
  virtual void bytes(int64_t bytes) = 0;                          // have come; from several threads
  virtual void note(const std::string& line) = 0;                 // a wait, a lock that another holds
};

struct PulledFile {
  std::string path, hash;
  int64_t bytes = 0, downloaded = 0;
};
struct PullResult {
  std::string commit;
  std::filesystem::path path;  // the folder, or the GGUF file
  std::vector<PulledFile> files;
};

// Downloads a model, or what is missing of it. Throws Error: see select_files; if the hub has no such model
// or gives no access, and how to give a token; if a file's size or hash is not the listed one; if the disk is
// too small; if it was stopped (HttpError), in which case a repetition goes on.
PullResult pull_model(const HubName& name, const HubSettings& settings, const PullOptions& options,
                      PullObserver& observer);

// Reads an answer that should be JSON. Throws Error that shows the address if its status is not 200, if it is
// an HTML page, or no JSON.
Json read_json_answer(const HttpResponse& response);

}  // namespace r1
