#include "formats/text_stream.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/hash.h"

namespace r1 {

class TextStream::Gunzip {
 public:
  Gunzip(std::string_view packed, const std::string& path) : packed_(packed), path_(path) {
    constexpr int kGzipOnly = 15 + 16;  // the largest window, and only gzip headers
    if (inflateInit2(&state_, kGzipOnly) != Z_OK) throw Error(path_ + ": zlib has no memory to unpack it");
  }
  ~Gunzip() { inflateEnd(&state_); }
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  // Unpacks up to `size` bytes. Returns 0 at the end of the file.
  size_t read(char* out, size_t size) {
    state_.next_out = reinterpret_cast<Bytef*>(out);
    state_.avail_out = static_cast<uInt>(size);
    while (state_.avail_out == size && !ended_) step();
    return size - state_.avail_out;
  }

 private:
  void step() {
    constexpr size_t kMostAtOnce = std::numeric_limits<uInt>::max();
    const size_t given = std::min(packed_.size(), kMostAtOnce);
    state_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed_.data()));
    state_.avail_in = static_cast<uInt>(given);
    const int result = inflate(&state_, Z_NO_FLUSH);
    packed_.remove_prefix(given - state_.avail_in);
    if (result == Z_STREAM_END) return next_member();
    if (result == Z_OK && !(packed_.empty() && state_.avail_out > 0)) return;
    if (result == Z_MEM_ERROR) throw Error(path_ + ": zlib has no memory to unpack it");
    if (result == Z_OK || result == Z_BUF_ERROR)
      throw Error(path_ + ": the gzip data is cut short: fetch or pack the file again");
    throw Error(fmt::format("{}: the gzip data is damaged ({}): fetch or pack the file again", path_,
                            state_.msg != nullptr ? state_.msg : "no reason given"));
  }

  // Starts the next member: a gzip file is a sequence of members. Zeros behind the last one are padding.
  void next_member() {
    const size_t begin = packed_.find_first_not_of('\0');
    ended_ = begin == std::string_view::npos;
    if (ended_) return;
    packed_.remove_prefix(begin);
    if (inflateReset(&state_) != Z_OK) throw Error(path_ + ": the gzip data is damaged");
  }

  std::string_view packed_;
  const std::string& path_;
  z_stream state_{};
  bool ended_ = false;
};

TextStream::TextStream(const std::filesystem::path& path) : path_(path.string()) {
  std::error_code ignored;
  if (std::filesystem::is_fifo(path, ignored) || std::filesystem::is_character_file(path, ignored)) {
    piped_ = read_file(path);
    stored_ = piped_;
  } else {
    file_ = MappedFile(path);
    stored_ = {reinterpret_cast<const char*>(file_.bytes().data()), file_.bytes().size()};
  }
  if (stored_.starts_with("\x1f\x8b")) {
    gunzip_ = std::make_unique<Gunzip>(stored_, path_);
  } else {
    rest_ = stored_;
  }
}

TextStream::~TextStream() = default;

bool TextStream::more() {
  constexpr size_t kStep = size_t{1} << 18;
  if (gunzip_ == nullptr) return false;
  const size_t held = rest_.size();
  if (held + kStep > kMostHeld)
    throw Error(fmt::format("{}: one row has more than {} MiB", path_, kMostHeld >> 20));
  if (held > 0) {
    window_.erase(0, window_.size() - held);
  } else {
    window_.clear();
  }
  const size_t step = std::max(kStep, std::min(held, kMostHeld - held));  // few steps for a long row
  window_.resize(held + step);
  const size_t read = gunzip_->read(window_.data() + held, step);
  window_.resize(held + read);
  rest_ = window_;
  return read > 0;
}

std::string TextStream::content_sha256() const {
  return sha256_hex(stored_);
}

}  // namespace r1
