#include "formats/hub_download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file_error.h"
#include "base/hash.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

// Thrown if a server answers a request for a range with the whole file.
struct RangesIgnored {};

// A download that fails this often in a row, without a byte between, ends.
constexpr int kFruitlessTries = 5;

// The hash that names a blob: SHA-256, or git's SHA-1 of "blob SIZE\0" and the bytes.
class BlobHash {
 public:
  explicit BlobHash(const HubFile& file) {
    if (file.hash.size() == 64) {
      sha256_ = std::make_unique<Sha256>();
      return;
    }
    sha1_ = std::make_unique<Sha1>();
    const std::string head = fmt::format("blob {}", file.size) + '\0';
    sha1_->update(std::as_bytes(std::span(head)));
  }
  void update(std::string_view bytes) {
    const auto data = std::as_bytes(std::span(bytes));
    sha1_ ? sha1_->update(data) : sha256_->update(data);
  }
  std::string hex() { return sha1_ ? sha1_->hex() : sha256_->hex(); }

 private:
  std::unique_ptr<Sha256> sha256_;
  std::unique_ptr<Sha1> sha1_;
};

// BLOB.incomplete: the first `size()` bytes of the file, with their hash so far.
class PartialFile {
 public:
  explicit PartialFile(const Download& download)
      : path_(incomplete_path(download.blob)), file_(download.file), hash_(file_) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd_ < 0) fail_with_errno(path_, "opening it for writing");
    struct stat info {};
    if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode))
      throw Error(path_.string() + ": is not a regular file");
    if (info.st_size > file_.size) {
      restart();
    } else {
      hash_present(info.st_size);
    }
  }
  ~PartialFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int64_t size() const { return size_; }

  void append(std::string_view bytes) {
    if (size_ + std::ssize(bytes) > file_.size)
      throw Error(
          fmt::format("{}: the hub sends more than the {} bytes that it lists", file_.path, file_.size));
    hash_.update(bytes);
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), size_);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_with_errno(path_, "writing");
      bytes.remove_prefix(static_cast<size_t>(n));
      size_ += n;
    }
  }

  void restart() {
    if (::ftruncate(fd_, 0) != 0) fail_with_errno(path_, "shortening it");
    size_ = 0;
    hash_ = BlobHash(file_);
  }

  // Checks the hash and gives the file its name.
  void finish(const fs::path& blob) {
    R1_CHECK(size_ == file_.size, size_);
    const std::string hash = hash_.hex();
    if (hash != file_.hash) {
      ::unlink(path_.c_str());
      throw Error(
          fmt::format("{}: what came has the hash {}, the hub lists {}: it was damaged on the way and is "
                      "removed; pull it again",
                      file_.path, hash, file_.hash));
    }
    if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP)
      fail_with_errno(path_, "syncing it to disk");
    if (::rename(path_.c_str(), blob.c_str()) != 0) fail_with_errno(blob, "renaming the finished download");
  }

 private:
  void hash_present(int64_t bytes) {
    std::string buffer(size_t{1} << 20, '\0');
    while (size_ < bytes) {
      const size_t want = std::min(buffer.size(), static_cast<size_t>(bytes - size_));
      const ssize_t n = ::pread(fd_, buffer.data(), want, size_);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail_with_errno(path_, "reading");
      hash_.update(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
      size_ += n;
    }
  }

  fs::path path_;
  const HubFile& file_;
  BlobHash hash_;
  int fd_ = -1;
  int64_t size_ = 0;
};

HttpOptions http_options(const PullOptions& options, PullObserver* observer) {
  HttpOptions out;
  out.backoff_s = options.backoff_s;
  out.stop = options.stop;
  if (observer != nullptr) {
    out.on_wait = [observer](const std::string& why, double seconds) {
      observer->note(fmt::format("{}; again in {:.1f} s", why, seconds));
    };
  }
  return out;
}

// Requests ranges of one file. It remembers where the hub redirects to, so that the hub is asked once.
class RangeReader {
 public:
  RangeReader(const Download& download, const HttpOptions& options)
      : download_(download), client_(options), url_(download.url) {}

  // Gives `take` the bytes [from, to), as many as come before the connection is cut. Returns false if it was
  // cut. Throws RangesIgnored before the first byte, or Error.
  bool read(int64_t from, int64_t to, const std::function<void(std::string_view)>& take) {
    int64_t left = to - from;
    const HttpSink sink{
        .begin = [&](const HttpResponse& r) { check(r, from, to); },
        .take =
            [&](std::string_view piece) {
              left -= std::ssize(piece);
              if (left < 0)
                throw Error(fmt::format("{}: the hub sends more than was asked for", download_.file.path));
              take(piece);
            }};
    for (bool direct = url_.same_origin(download_.url) && url_.target == download_.url.target;;
         direct = true) {
      HttpRequest request{.url = url_, .headers = {}, .body = {}};
      if (direct) request.headers = download_.headers;
      if (from > 0 || to < download_.file.size)
        request.headers.push_back({"Range", fmt::format("bytes={}-{}", from, to - 1)});
      try {
        const HttpResponse response = client_.send(request, sink);
        if (response.status / 100 == 2) {
          url_ = response.url;
          return left == 0;
        }
        // An address with a signature is good for some time only.
        if (direct) {
          download_.refuse(response);
          R1_CHECK(false, "status ", response.status, " was not refused");
        }
        url_ = download_.url;
      } catch (const HttpError& e) {
        if (e.kind != HttpError::Kind::cut && e.kind != HttpError::Kind::timeout) throw;
        return false;
      }
    }
  }

 private:
  void check(const HttpResponse& response, int64_t from, int64_t to) const {
    const HubFile& file = download_.file;
    const auto lies = [&](int64_t size) {
      throw Error(
          fmt::format("{}: the hub lists {} bytes and sends a file of {}", file.path, file.size, size));
    };
    if (response.status == 206) {
      ContentRange range;
      const std::string* text = response.header("content-range");
      if (text == nullptr || !read_content_range(*text, range))
        throw Error(fmt::format("{}: the hub's answer has no good Content-Range", file.path));
      if (range.total != file.size) lies(range.total);
      if (range.first != from || range.last >= to)
        throw Error(fmt::format("{}: the hub sends other bytes than were asked for", file.path));
      return;
    }
    if (response.status != 200)
      throw Error(fmt::format("{}: the hub answered with status {}", file.path, response.status));
    if (from > 0 || to < file.size) throw RangesIgnored{};
    const std::string* length = response.header("content-length");
    int64_t bytes = 0;
    if (length != nullptr &&
        std::from_chars(length->data(), length->data() + length->size(), bytes).ec == std::errc() &&
        bytes != file.size)
      lies(bytes);
  }

  const Download& download_;
  HttpClient client_;
  HttpUrl url_;
};

// Counts tries without a byte between them.
class Patience {
 public:
  Patience(const HubFile& file, const PullOptions& options) : file_(file), options_(options) {}
  void progress() { fruitless_ = 0; }
  void cut() {
    if (++fruitless_ >= kFruitlessTries)
      throw Error(
          fmt::format("{}: the connection was cut {} times without a byte between; pull again to go on",
                      file_.path, fruitless_));
    pause_for(options_.backoff_s * fruitless_, options_.stop);
  }

 private:
  const HubFile& file_;
  const PullOptions& options_;
  int fruitless_ = 0;
};

// The whole rest over one connection. A server without ranges sends the file from its start.
void download_in_order(const Download& download, const PullOptions& options, PullObserver& observer,
                       PartialFile& out, bool ranges) {
  RangeReader reader(download, http_options(options, &observer));
  Patience patience(download.file, options);
  if (!ranges && out.size() > 0) {
    observer.bytes(-out.size());
    out.restart();
  }
  while (out.size() < download.file.size) {
    const bool whole = reader.read(out.size(), download.file.size, [&](std::string_view piece) {
      out.append(piece);
      observer.bytes(std::ssize(piece));
      patience.progress();
    });
    if (whole) continue;
    patience.cut();
    if (!ranges) {
      observer.bytes(-out.size());
      out.restart();
    }
  }
}

// Ranges over several connections. The calling thread writes them in order.
class ParallelDownload {
 public:
  ParallelDownload(const Download& download, const PullOptions& options, PullObserver& observer,
                   PartialFile& out)
      : download_(download), options_(options), observer_(observer), out_(out), start_(out.size()) {
    chunks_ = (download.file.size - start_ + options.chunk_bytes - 1) / options.chunk_bytes;
    options_.stop = [this, stop = options.stop] { return ended_.load() || (stop && stop()); };
  }

  void run() {
    std::vector<std::jthread> threads;
    const int64_t count = std::min<int64_t>(options_.connections, chunks_);
    for (int64_t i = 0; i < count; ++i) threads.emplace_back([this] { work(); });
    try {
      write_all();
    } catch (...) {
      end();
      threads.clear();
      observer_.bytes(out_.size() - start_ - received_);  // what came in vain
      throw;
    }
    end();
  }

 private:
  void end() {
    ended_ = true;
    changed_.notify_all();
  }

  void write_all() {
    std::unique_lock lock(mutex_);
    while (written_ < chunks_) {
      changed_.wait(lock, [&] { return problem_ || ready_.contains(written_); });
      if (problem_) std::rethrow_exception(problem_);
      const std::string bytes = std::move(ready_.extract(written_).mapped());
      lock.unlock();
      out_.append(bytes);
      lock.lock();
      ++written_;
      changed_.notify_all();
    }
  }

  void work() {
    RangeReader reader(download_, http_options(options_, nullptr));
    std::unique_lock lock(mutex_);
    const int64_t window = 2 * options_.connections;
    for (;;) {
      changed_.wait(lock,
                    [&] { return ended_ || problem_ || next_ >= chunks_ || next_ < written_ + window; });
      if (ended_ || problem_ || next_ >= chunks_) return;
      const int64_t chunk = next_++;
      lock.unlock();
      try {
        std::string bytes = fetch(reader, chunk);
        lock.lock();
        ready_.emplace(chunk, std::move(bytes));
      } catch (...) {
        if (!lock.owns_lock()) lock.lock();
        if (!problem_) problem_ = std::current_exception();
      }
      changed_.notify_all();
    }
  }

  std::string fetch(RangeReader& reader, int64_t chunk) {
    const int64_t begin = start_ + chunk * options_.chunk_bytes;
    const int64_t end = std::min(begin + options_.chunk_bytes, download_.file.size);
    std::string bytes;
    Patience patience(download_.file, options_);
    while (!reader.read(begin + std::ssize(bytes), end, [&](std::string_view piece) {
      bytes.append(piece);
      received_ += std::ssize(piece);
      observer_.bytes(std::ssize(piece));
      patience.progress();
    }))
      patience.cut();
    return bytes;
  }

  const Download& download_;
  PullOptions options_;
  PullObserver& observer_;
  PartialFile& out_;
  const int64_t start_;
  int64_t chunks_ = 0;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  int64_t next_ = 0, written_ = 0;
  std::map<int64_t, std::string> ready_;
  std::exception_ptr problem_;
  std::atomic<bool> ended_{false};
  std::atomic<int64_t> received_{0};
};

}  // namespace

fs::path incomplete_path(const fs::path& blob) {
  return blob.string() + ".incomplete";
}

bool read_content_range(std::string_view text, ContentRange& out) {
  text = trim(text);
  if (!text.starts_with("bytes ")) return false;
  text.remove_prefix(6);
  int64_t* const fields[] = {&out.first, &out.last, &out.total};
  constexpr char kBehind[] = {'-', '/', '\0'};
  for (int i = 0; i < 3; ++i) {
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), *fields[i]);
    if (problem != std::errc() || *fields[i] < 0) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (kBehind[i] == '\0') break;
    if (text.empty() || text.front() != kBehind[i]) return false;
    text.remove_prefix(1);
  }
  return text.empty() && out.first <= out.last && out.last < out.total;
}

int64_t download_file(const Download& download, const PullOptions& options, PullObserver& observer) {
  PartialFile out(download);
  const int64_t before = out.size();
  bool ranges = true;
  if (download.file.size - out.size() >= 2 * options.chunk_bytes && options.connections > 1) {
    try {
      ParallelDownload(download, options, observer, out).run();
    } catch (const RangesIgnored&) {
      ranges = false;
    }
  }
  try {
    download_in_order(download, options, observer, out, ranges);
  } catch (const RangesIgnored&) {
    download_in_order(download, options, observer, out, false);
  }
  out.finish(download.blob);
  return ranges ? download.file.size - before : download.file.size;
}

}  // namespace r1
