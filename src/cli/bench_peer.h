// cli/bench_peer.h: llama.cpp on the same file, measured by the Python package llama-cpp-python.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

struct PeerRequest {
  int64_t depth = 0, batch = 1, tokens = 0;
  bool prefill = false;
};

// A Python process that holds the model and answers one request at a time, so that both programs can take
// turns.
class LlamaPeer {
 public:
  // Throws Error if Python or the package is missing, or if llama.cpp cannot load the file.
  LlamaPeer(const std::string& python, const std::filesystem::path& gguf, int threads, int64_t sequences,
            int64_t positions);
  ~LlamaPeer();
  LlamaPeer(const LlamaPeer&) = delete;
  LlamaPeer& operator=(const LlamaPeer&) = delete;

  const std::string& version() const { return version_; }
  // Returns the seconds of a step (decoding) or of all tokens (prefill). Throws Error.
  double measure(const PeerRequest& request);

 private:
  Json read_line();
  struct Process;
  std::unique_ptr<Process> process_;
  std::string version_;
};

}  // namespace r1
