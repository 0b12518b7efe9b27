// base/http_message.cc: the only file that includes Boost.Beast, which is slow to compile.
// Beast asserts that the last chunk's header and trailer come in five bytes or more. Pieces of a connection may be shorter,
// and whoever sends them must not end the program; without the assertions it reads on.
#define BOOST_DISABLE_ASSERTS

#include "base/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <limits>

#include "base/ascii.h"
#include "base/error.h"

namespace r1 {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

constexpr uint32_t kLongestHeader = 64 << 10;

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7F; });
}

std::string_view of(string_view text) {
  return {text.data(), text.size()};
}

// Beast's parser of one response, which reports what it finds to the owner's functions.
class BeastResponse final : public http::basic_parser<false> {
 public:
  int code = 0;
  std::vector<HttpHeader> fields;
  std::function<void()> on_header;
  std::function<void(std::string_view)> on_piece;

 private:
  void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int status, string_view, int, error_code&) override { code = status; }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    fields.push_back({std::string(of(name)), std::string(of(value))});
  }
  void on_header_impl(error_code&) override {
    if (on_header) on_header();
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    if (on_piece) on_piece(of(body));
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    if (on_piece) on_piece(of(body));
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
};

}  // namespace

const std::string* find_header(const std::vector<HttpHeader>& headers, std::string_view name) {
  const auto at =
      std::ranges::find_if(headers, [&](const HttpHeader& h) { return equal_ignoring_case(h.name, name); });
  return at == headers.end() ? nullptr : &at->value;
}

std::string http_request_text(std::string_view method, std::string_view target,
                              const std::vector<HttpHeader>& headers, std::string_view body) {
  R1_CHECK(is_token(method) && !target.empty(), method);
  std::string out = fmt::format("{} {} HTTP/1.1\r\n", method, target);
  for (const HttpHeader& h : headers) {
    if (!is_token(h.name) || has_control(h.value))
      throw Error(fmt::format("the header {} has a character that no header may have", h.name));
    out += fmt::format("{}: {}\r\n", h.name, h.value);
  }
  if (!body.empty() || method == "POST") out += fmt::format("Content-Length: {}\r\n", body.size());
  return out.append("\r\n").append(body);
}

struct HttpResponseReader::Impl {
  bool no_body;
  std::function<void()> on_header;
  std::function<void(std::string_view)> on_body;
  std::unique_ptr<BeastResponse> parser;
  std::string pending;  // bytes that the parser could not use yet: a part of a header
  bool begun = false;

  void start() {
    parser = std::make_unique<BeastResponse>();
    parser->eager(true);
    parser->header_limit(kLongestHeader);
    parser->body_limit(std::numeric_limits<std::uint64_t>::max());  // the owner counts
    if (no_body) parser->skip(true);
    parser->on_header = [this] {
      if (parser->code >= 200) on_header();
    };
    parser->on_piece = [this](std::string_view piece) { on_body(piece); };
  }

  bool interim() const { return parser->is_done() && parser->code < 200; }
};

HttpResponseReader::HttpResponseReader(bool no_body, std::function<void()> on_header,
                                       std::function<void(std::string_view)> on_body)
    : impl_(new Impl{.no_body = no_body,
                     .on_header = std::move(on_header),
                     .on_body = std::move(on_body),
                     .parser = nullptr,
                     .pending = {}}) {
  impl_->start();
}
HttpResponseReader::~HttpResponseReader() = default;

void HttpResponseReader::feed(std::string_view bytes) {
  Impl& m = *impl_;
  m.begun |= !bytes.empty();
  m.pending.append(bytes);
  std::string_view rest = m.pending;
  while (!rest.empty()) {
    if (m.interim()) m.start();
    if (m.parser->is_done()) throw Error("it sent more than its answer");
    error_code problem;
    const size_t used = m.parser->put(boost::asio::const_buffer(rest.data(), rest.size()), problem);
    rest.remove_prefix(used);
    if (problem == http::error::need_more) {
      if (used == 0) break;
      continue;
    }
    if (problem == http::error::header_limit) throw Error("its answer's header is longer than 64 KiB");
    if (problem) throw Error(fmt::format("its answer is not HTTP/1.1 ({})", problem.message()));
    if (used == 0 && !m.parser->is_done()) break;
  }
  m.pending.erase(0, m.pending.size() - rest.size());
}

void HttpResponseReader::end() {
  Impl& m = *impl_;
  if (!m.begun) throw Error("it closed the connection before it answered");
  if (done()) return;
  if (!has_header()) throw Error("it closed the connection within its answer's header");
  error_code problem;
  m.parser->put_eof(problem);
  if (problem || !m.parser->is_done()) throw Error("it closed the connection before its answer had ended");
}

bool HttpResponseReader::begun() const {
  return impl_->begun;
}
bool HttpResponseReader::has_header() const {
  return impl_->parser->is_header_done() && impl_->parser->code >= 200;
}
bool HttpResponseReader::done() const {
  return impl_->parser->is_done() && impl_->parser->code >= 200;
}
bool HttpResponseReader::keep_alive() const {
  return done() && impl_->pending.empty() && impl_->parser->keep_alive();
}
int HttpResponseReader::status() const {
  return impl_->parser->code;
}
const std::vector<HttpHeader>& HttpResponseReader::headers() const {
  return impl_->parser->fields;
}
std::optional<uint64_t> HttpResponseReader::content_length() const {
  const auto length = impl_->parser->content_length();
  return length ? std::optional<uint64_t>(*length) : std::nullopt;
}

}  // namespace r1
