// `r1 serve` as a process: its address, SIGTERM under load, its sockets, and its options.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/cli/serve_process.h"

namespace r1::serve_test {
namespace {

using namespace test;

TEST(Serve, PrintsWhereItListens) {
  ServeProcess serving;
  EXPECT_EQ(serving.where().get_string("url"), "http://127.0.0.1:" + std::to_string(serving.port()));
  EXPECT_EQ(serving.where().get_string("model"), "r1-nano");
  EXPECT_EQ(serving.where().get_int("context"), 1024);
}

TEST(Serve, AnswersAsRunDoesWithTheSameSeed) {
  ServeProcess serving;
  Connection connection(serving.port());
  connection.send(
      request_text("POST", "/v1/chat/completions", question("Make 24 from 12, 11 and 47.", 5).dump()));
  const Json served = read_answer(connection).json();
  const Result run = r1_run({"run", std::string(R1_SOURCE_DIR) + "/models/r1-nano", "-p",
                             "Make 24 from 12, 11 and 47.", "--seed", "5", "--json"});
  ASSERT_EQ(run.status, 0) << run.err;
  const Json json = parse_json(run.out, "stdout");
  EXPECT_EQ(content_of(served), json.get_string("content"));
  EXPECT_EQ(reasoning_of(served), json.get_string_or("reasoning", ""));
}

TEST(Serve, SigtermUnderLoadLetsAnswersEndAndTheStatusIs0) {
  ServeProcess serving;
  std::vector<std::unique_ptr<Connection>> streams;
  for (int i = 0; i < 12; ++i) {
    streams.push_back(std::make_unique<Connection>(serving.port()));
    Json body = question("Go on.", i).set("stream", true).set("ignore_eos", true).set("max_tokens", 600);
    streams.back()->send(request_text("POST", "/v1/chat/completions", body.dump()));
  }
  for (auto& stream : streams)
    stream->read_until([](const std::string& text) { return text.find("data: {") != std::string::npos; });
  const Result result = serving.end(SIGTERM);
  EXPECT_EQ(result.status, 0) << result.err;
  for (auto& stream : streams) {
    const HttpAnswer answer = read_answer(*stream);
    EXPECT_TRUE(answer.complete);
    EXPECT_TRUE(events_of(answer.body).done);
  }
  EXPECT_NE(result.err.find("shutting down"), std::string::npos);
}

TEST(Serve, WithoutTimeToDrainAnswersEndWithAnError) {
  ServeProcess serving({"--drain", "0"});
  Connection stream(serving.port());
  Json body = question().set("stream", true).set("ignore_eos", true).set("n", 100).set("max_tokens", 900);
  stream.send(request_text("POST", "/v1/chat/completions", body.dump()));
  stream.read_until([](const std::string& text) { return text.find("data: {") != std::string::npos; });
  EXPECT_EQ(serving.end(SIGTERM).status, 0);
  const HttpAnswer answer = read_answer(stream);
  EXPECT_NE(answer.body.find("shutting down"), std::string::npos);
}

// The inodes of a process's sockets.
std::set<std::string> sockets_of(pid_t pid) {
  std::set<std::string> inodes;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code none;
    const std::string to = fs::read_symlink(entry.path(), none).string();
    if (to.starts_with("socket:[")) inodes.insert(to.substr(8, to.size() - 9));
  }
  return inodes;
}

// Local ports by inode, of all TCP sockets of the machine.
std::map<std::string, int> ports_by_inode() {
  std::map<std::string, int> ports;
  for (const char* file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream words(line);
      std::vector<std::string> fields;
      for (std::string word; words >> word;) fields.push_back(word);
      if (fields.size() > 9)
        ports[fields[9]] = std::stoi(fields[1].substr(fields[1].find(':') + 1), nullptr, 16);
    }
  }
  return ports;
}

TEST(Serve, OpensNoSocketButThoseOfItsPort) {
  ServeProcess serving;
  std::vector<std::unique_ptr<Connection>> streams;
  for (int i = 0; i < 5; ++i) {
    streams.push_back(std::make_unique<Connection>(serving.port()));
    Json body = question().set("stream", true).set("ignore_eos", true).set("n", 8).set("max_tokens", 900);
    streams.back()->send(request_text("POST", "/v1/chat/completions", body.dump()));
    streams.back()->read_until(
        [](const std::string& text) { return text.find("data: {") != std::string::npos; });
  }
  const std::set<std::string> sockets = sockets_of(serving.pid());
  const std::map<std::string, int> ports = ports_by_inode();
  EXPECT_GE(sockets.size(), 6u);  // it listens, and five clients are connected
  for (const std::string& inode : sockets) {
    ASSERT_TRUE(ports.contains(inode)) << "a socket that is not TCP";
    EXPECT_EQ(ports.at(inode), serving.port());
  }
}

TEST(Serve, OptionsOutOfRangeAreOneLineAndStatus2) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--port", "70000"}, "--port is 70000; it must be between 0 and 65535"},
      {{"--max-batch", "0"}, "--max-batch is 0; it must be between 1 and"},
      {{"--max-queue", "0"}, "--max-queue is 0"},
      {{"--lookahead", "65"}, "--lookahead is 65; it must be between 0 and 64"},
      {{"--timeout", "0"}, "--timeout is 0; it must be more than 0"},
      {{"--drain", "-1"}, "--drain is -1"},
      {{"--api-key-file", "/no/such/file"}, "/no/such/file"},
      {{"--host", "no.such.host.invalid"}, "--host no.such.host.invalid"},
  };
  for (const auto& [options, message] : cases) {
    std::vector<std::string> words = {"serve", std::string(R1_SOURCE_DIR) + "/models/r1-nano"};
    words.insert(words.end(), options.begin(), options.end());
    if (options[0] != "--port") words.insert(words.end(), {"--port", "0"});
    const Result result = r1_run(words);
    EXPECT_EQ(result.status, 2) << message;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
  ServeProcess serving;
  const Result taken = r1_run(
      {"serve", std::string(R1_SOURCE_DIR) + "/models/r1-nano", "--port", std::to_string(serving.port())});
  EXPECT_EQ(taken.status, 2);
  EXPECT_NE(taken.err.find("is in use"), std::string::npos) << taken.err;
}

}  // namespace
}  // namespace r1::serve_test
