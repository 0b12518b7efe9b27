// base/hash.h: SHA-256 (FIPS 180-4, by OpenSSL). It names weights and selects held-out splits. SHA-1 is only
// for git, which names files by it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace r1 {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(std::span<const std::byte> bytes);
  std::string hex();  // 64 digits; no update() may follow

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256_hex(std::string_view text);

class Sha1 {
 public:
  Sha1();
  ~Sha1();
  void update(std::span<const std::byte> bytes);
  std::string hex();  // 40 digits; no update() may follow

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
