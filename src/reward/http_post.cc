// reward/http_post.cc: the only file that includes Boost.Beast.
#include "reward/http_post.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <future>

#include "base/error.h"

namespace r1 {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = boost::asio::ip::tcp;

constexpr uint64_t kMaxBody = uint64_t{64} << 20;

// Runs the operation behind `result` to its end, or until the time is over or `stop` is set.
template <class Result>
Result finish(boost::asio::io_context& io, std::future<Result> result,
              std::chrono::steady_clock::time_point until, const std::atomic<bool>& stop) {
  using namespace std::chrono_literals;
  while (result.wait_for(0s) != std::future_status::ready) {
    if (stop.load()) throw Error("it was stopped");
    if (std::chrono::steady_clock::now() >= until) throw Error("timed out");
    io.restart();
    io.run_for(50ms);
  }
  return result.get();
}

}  // namespace

std::string http_post(const HttpAddress& to, const std::string& body, double timeout_s,
                      const std::atomic<bool>& stop) {
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                             std::chrono::duration<double>(timeout_s));
  boost::asio::io_context io;
  tcp::resolver resolver(io);
  tcp::socket socket(io);
  const auto run = [&](auto future) { return finish(io, std::move(future), until, stop); };
  const auto places = [&] { return run(resolver.async_resolve(to.host, to.port, boost::asio::use_future)); };
  try {
    const tcp::resolver::results_type found = places();
    boost::system::error_code refused = boost::asio::error::host_not_found;
    for (const auto& place : found) {
      socket.close(refused);
      try {
        run(socket.async_connect(place.endpoint(), boost::asio::use_future));
        refused = {};
        break;
      } catch (const boost::system::system_error& e) {
        refused = e.code();
      }
    }
    if (refused) throw boost::system::system_error(refused);
    http::request<http::string_body> request(http::verb::post, to.target, 11);
    const bool bare_ipv6 = to.host.find(':') != std::string::npos;
    request.set(http::field::host, (bare_ipv6 ? "[" + to.host + "]" : to.host) + ":" + to.port);
    request.set(http::field::user_agent, "r1");
    request.set(http::field::content_type, "application/json");
    request.set(http::field::connection, "close");
    request.body() = body;
    request.prepare_payload();
    run(http::async_write(socket, request, boost::asio::use_future));
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(kMaxBody);
    run(http::async_read(socket, buffer, parser, boost::asio::use_future));
    if (parser.get().result_int() != 200)
      throw Error(fmt::format("it answered with status {}", parser.get().result_int()));
    return std::move(parser.get().body());
  } catch (const boost::system::system_error& e) {
    throw Error(fmt::format("{}:{}: {}", to.host, to.port, e.code().message()));
  } catch (const Error& e) {
    if (std::string_view(e.what()) != "timed out") throw;
    throw Error(fmt::format("it gave no answer within {} s", timeout_s));
  }
}

}  // namespace r1
