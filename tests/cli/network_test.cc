// `r1 serve` and `r1 run` open no outbound connection and send no datagram. The kernel counts both in a network namespace that the
// test makes for itself, in which every address has a route.
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/cli/serve_process.h"

namespace r1::network_test {
namespace {

using namespace test;

const std::string kNano = std::string(R1_SOURCE_DIR) + "/models/r1-nano";

sockaddr_in address_of(const char* text, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

// Brings the loopback interface up and makes it the way to every address. Returns what failed, or "".
std::string set_up_loopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  std::string failed;
  if (::ioctl(fd, SIOCGIFFLAGS, &request) != 0) failed = "SIOCGIFFLAGS";
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (failed.empty() && ::ioctl(fd, SIOCSIFFLAGS, &request) != 0) failed = "SIOCSIFFLAGS";
  rtentry route{};
  const sockaddr_in any = address_of("0.0.0.0", 0);
  std::memcpy(&route.rt_dst, &any, sizeof any);
  std::memcpy(&route.rt_genmask, &any, sizeof any);
  char device[] = "lo";
  route.rt_dev = device;
  route.rt_flags = RTF_UP;
  if (failed.empty() && ::ioctl(fd, SIOCADDRT, &route) != 0) failed = "SIOCADDRT";
  ::close(fd);
  return failed.empty() ? "" : failed + ": " + std::strerror(errno);
}

// Counts of what the processes of this thread's namespace have sent so far.
struct Sent {
  int64_t connections = 0, datagrams = 0;
  bool operator==(const Sent&) const = default;
};

Sent sent() {
  Sent out;
  std::ifstream file("/proc/thread-self/net/snmp");
  std::string names, values;
  while (std::getline(file, names) && std::getline(file, values)) {
    std::istringstream name(names), value(values);
    std::string n, v;
    while (name >> n && value >> v) {
      if (names.starts_with("Tcp:") && n == "ActiveOpens") out.connections += std::stoll(v);
      if (names.starts_with("Udp:") && n == "OutDatagrams") out.datagrams += std::stoll(v);
    }
  }
  std::ifstream file6("/proc/thread-self/net/snmp6");
  int64_t count = 0;
  while (file6 >> names >> count) {
    if (names == "Udp6OutDatagrams") out.datagrams += count;
  }
  return out;
}

// Runs `body` on a thread of a new network namespace; processes that it starts are in it, too. Returns false if this machine does
// not allow that.
bool in_new_network(const std::function<void()>& body) {
  bool allowed = false;
  std::thread inside([&] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    allowed = true;
    const std::string failed = set_up_loopback();
    if (failed.empty()) return body();
    ADD_FAILURE() << failed;
  });
  inside.join();
  return allowed;
}

#define R1_SKIP_WITHOUT_NETWORK(is_allowed) \
  if (!(is_allowed))                        \
  GTEST_SKIP() << "a network namespace needs root: it is not tested that nothing connects to the outside"

TEST(Network, TheCountSeesConnectionsAndDatagrams) {
  const bool allowed = in_new_network([] {
    EXPECT_EQ(sent(), Sent{});
    const sockaddr_in elsewhere = address_of("192.0.2.1", 80);
    const int tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), udp = ::socket(AF_INET, SOCK_DGRAM, 0);
    ::connect(tcp, reinterpret_cast<const sockaddr*>(&elsewhere), sizeof elsewhere);
    ::sendto(udp, "x", 1, 0, reinterpret_cast<const sockaddr*>(&elsewhere), sizeof elsewhere);
    EXPECT_EQ(sent(), (Sent{.connections = 1, .datagrams = 1}));
    ::close(tcp);
    ::close(udp);
    // A program of the thread's, too.
    finish(start({"/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"}, "connects-"));
    EXPECT_EQ(sent(), (Sent{.connections = 2, .datagrams = 1}));
  });
  R1_SKIP_WITHOUT_NETWORK(allowed);
}

TEST(Network, ServeConnectsToNobody) {
  const bool allowed = in_new_network([] {
    ServeProcess serving;
    int64_t mine = 0;
    const auto ask = [&](const char* method, const char* target, const Json& body = {}) {
      ++mine;
      Connection connection(serving.port());
      connection.send(request_text(method, target, body.is_null() ? "" : body.dump()));
      const HttpAnswer answer = read_answer(connection);
      EXPECT_EQ(answer.status, 200) << target << answer.body;
    };
    ask("GET", "/");
    ask("GET", "/page/main.js");
    ask("GET", "/metrics");
    ask("GET", "/v1/models");
    ask("POST", "/v1/chat/completions", question());
    ask("POST", "/v1/chat/completions", question().set("stream", true).set("n", 3));
    ask("POST", "/v1/chat/completions", question().set("guided_regex", "[a-z]{3}"));
    ask("POST", "/v1/messages", question().set("max_tokens", 20));
    ask("POST", "/tokenize", Json::object().set("prompt", "a b c"));
    // A link in a message is text.
    ask("POST", "/v1/chat/completions",
        question("See http://192.0.2.1/a.png and answer.").set("max_tokens", 20));
    EXPECT_EQ(serving.end(SIGTERM).status, 0);
    EXPECT_EQ(sent(), (Sent{.connections = mine, .datagrams = 0}));
  });
  R1_SKIP_WITHOUT_NETWORK(allowed);
}

TEST(Network, RunConnectsToNobodyAndAnswersAsWithANetwork) {
  const std::vector<std::string> words{"run", kNano, "-p", "Make 24 from 12, 11 and 47.", "--json"};
  const Result outside = r1_run(words);
  ASSERT_EQ(outside.status, 0) << outside.err;
  const bool allowed = in_new_network([&] {
    const Result inside = r1_run(words);
    EXPECT_EQ(inside.status, 0) << inside.err;
    EXPECT_EQ(parse_json(inside.out, "inside").get_string("text"),
              parse_json(outside.out, "outside").get_string("text"));
    EXPECT_EQ(sent(), Sent{});
  });
  R1_SKIP_WITHOUT_NETWORK(allowed);
}

}  // namespace
}  // namespace r1::network_test
