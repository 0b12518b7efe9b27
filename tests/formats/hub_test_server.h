// tests/formats/hub_test_server.h: a hub of a test's own, with one repository and faults to order.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/hash.h"
#include "formats/json.h"
#include "tests/base/http_test_server.h"

namespace r1::test {

inline std::string git_sha1(const std::string& text) {
  Sha1 hash;
  const std::string head = "blob " + std::to_string(text.size()) + '\0';
  hash.update(std::as_bytes(std::span(head)));
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

// Files of r1-tests/model at commit kCommit. Those in `large` are listed with a SHA-256 and served by another
// host.
class TestHub {
 public:
  inline static const std::string kRepo = "r1-tests/model", kCommit = std::string(39, 'a') + "1";
  std::map<std::string, std::string> files;
  std::set<std::string> large;
  std::string token;      // needed if it is not ""
  bool ranges = true;     // honoured
  int64_t cut_every = 0;  // each so many answers of the other host end after `cut_after` bytes
  int64_t cut_after = 1000;
  std::string listing;                        // instead of the true one
  std::map<std::string, std::string> served;  // other bytes than those that are listed

  TestHub()
      : cdn_([this](const SeenRequest& r) { return content(r); }),
        hub_([this](const SeenRequest& r) { return answer(r); }) {}

  std::string url() const { return hub_.url(); }
  std::vector<SeenRequest> asked() const { return hub_.seen(); }
  std::vector<SeenRequest> fetched() const { return cdn_.seen(); }

  Json list() const {
    Json siblings = Json::array();
    for (const auto& [path, text] : files) {
      Json entry = Json::object();
      entry.set("rfilename", path).set("size", std::ssize(text)).set("blobId", git_sha1(text));
      if (large.contains(path))
        entry.set("lfs", Json::object()
                             .set("sha256", sha256_hex(text))
                             .set("size", std::ssize(text))
                             .set("pointerSize", 134));
      siblings.push_back(std::move(entry));
    }
    return Json::object().set("id", kRepo).set("sha", kCommit).set("siblings", std::move(siblings));
  }

 private:
  RawReply answer(const SeenRequest& r) {
    const std::string api = "/api/models/" + kRepo + "/revision/",
                      resolve = "/" + kRepo + "/resolve/" + kCommit + "/";
    if (!token.empty() && r.header("authorization") != "Bearer " + token)
      return reply(401, "{\"error\":\"Repository not found\"}", "X-Error-Code: RepoNotFound\r\n");
    if (r.target.starts_with(api)) {
      const std::string revision = r.target.substr(api.size(), r.target.find('?') - api.size());
      if (revision != "main" && revision != kCommit)
        return reply(404, "{}", "X-Error-Code: RevisionNotFound\r\n");
      return reply(200, listing.empty() ? list().dump() : listing, "Content-Type: application/json\r\n");
    }
    if (!r.target.starts_with(resolve)) return reply(404, "{}", "X-Error-Code: RepoNotFound\r\n");
    const std::string path = r.target.substr(resolve.size());
    if (!files.contains(path)) return reply(404, "", "X-Error-Code: EntryNotFound\r\n");
    if (large.contains(path))
      return reply(302, "", "Location: " + cdn_.url("/" + path + "?signed=1") + "\r\n");
    return reply(200, served.contains(path) ? served.at(path) : files.at(path));
  }

  RawReply content(const SeenRequest& r) {
    if (!r.header("authorization").empty()) return reply(400, "a token went to another host");
    const std::string path = r.target.substr(1, r.target.find('?') - 1);
    const std::string& whole = served.contains(path) ? served.at(path) : files.at(path);
    RawReply out = reply(200, whole);
    const std::string range = r.header("range");
    if (ranges && !range.empty()) {
      const size_t first = std::stoul(range.substr(6)),
                   last = std::min(whole.size() - 1, std::stoul(range.substr(range.find('-') + 1)));
      out = reply(206, whole.substr(first, last + 1 - first),
                  "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
                      std::to_string(whole.size()) + "\r\n");
    }
    if (cut_every > 0 && ++answers_ % cut_every == 0) {
      const size_t head = out.bytes.find("\r\n\r\n") + 4;
      out.bytes.resize(std::min(out.bytes.size(), head + static_cast<size_t>(cut_after)));
      out.close = true;
    }
    return out;
  }

  std::atomic<int64_t> answers_{0};
  HttpTestServer cdn_, hub_;
};

}  // namespace r1::test
