#include "base/hash.h"

#include <openssl/evp.h>

#include "base/error.h"

namespace r1 {

namespace {

class DigestOf {
 public:
  explicit DigestOf(const EVP_MD* kind) : ctx_(EVP_MD_CTX_new()) {
    R1_CHECK(ctx_ != nullptr && EVP_DigestInit_ex(ctx_, kind, nullptr) == 1);
  }
  ~DigestOf() { EVP_MD_CTX_free(ctx_); }
  DigestOf(const DigestOf&) = delete;
  DigestOf& operator=(const DigestOf&) = delete;

  void update(std::span<const std::byte> bytes) {
    R1_CHECK(EVP_DigestUpdate(ctx_, bytes.data(), bytes.size()) == 1);
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    R1_CHECK(EVP_DigestFinal_ex(ctx_, digest, &length) == 1);
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < length; ++i) {
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  EVP_MD_CTX* ctx_;
};

}  // namespace

struct Sha256::Impl {
  DigestOf digest{EVP_sha256()};
};
Sha256::Sha256() : impl_(std::make_unique<Impl>()) {}
Sha256::~Sha256() = default;
void Sha256::update(std::span<const std::byte> bytes) {
  impl_->digest.update(bytes);
}
std::string Sha256::hex() {
  return impl_->digest.hex();
}

struct Sha1::Impl {
  DigestOf digest{EVP_sha1()};
};
Sha1::Sha1() : impl_(std::make_unique<Impl>()) {}
Sha1::~Sha1() = default;
void Sha1::update(std::span<const std::byte> bytes) {
  impl_->digest.update(bytes);
}
std::string Sha1::hex() {
  return impl_->digest.hex();
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

}  // namespace r1
