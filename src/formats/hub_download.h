// formats/hub_download.h: one file from the hub to the disk.
#pragma once

#include "formats/hub.h"

namespace r1 {

struct Download {
  HttpUrl url;
  std::vector<HttpHeader> headers;  // the token's
  HubFile file;
  std::filesystem::path blob;  // the finished file; until then its first bytes are in BLOB.incomplete
  std::function<void(const HttpResponse&)> refuse;  // throws Error for an answer without a good status
};

std::filesystem::path incomplete_path(const std::filesystem::path& blob);

// Returns the bytes that were transferred. The caller holds the blob's lock. Throws Error; see pull_model.
int64_t download_file(const Download& download, const PullOptions& options, PullObserver& observer);

// The range that a Content-Range header states: "bytes 0-9/100". Returns false if it is malformed.
struct ContentRange {
  int64_t first = 0, last = 0, total = 0;
};
bool read_content_range(std::string_view text, ContentRange& out);

}  // namespace r1
