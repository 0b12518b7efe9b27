// tests/cli/serve_process.h: `r1 serve r1-nano` as a process.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "tests/cli/cli_test_util.h"
#include "tests/server/server_test_util.h"

namespace r1::test {

class ServeProcess {
 public:
  explicit ServeProcess(const std::vector<std::string>& options = {}) {
    static int count = 0;
    std::vector<std::string> words = {R1_BINARY, "serve", std::string(R1_SOURCE_DIR) + "/models/r1-nano",
                                      "--port",  "0",     "--threads",
                                      "1",       "--json"};
    words.insert(words.end(), options.begin(), options.end());
    started_ = start(words, "serve" + std::to_string(count++) + "-");
    for (int i = 0; i < kPatienceMs / 10 && where_.is_null(); ++i) {
      const std::string out = read_file(started_.out);
      if (out.ends_with('\n')) where_ = parse_json(out, "stdout");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_FALSE(where_.is_null()) << read_file(started_.err);
  }
  ~ServeProcess() {
    if (started_.pid != 0) ::kill(started_.pid, SIGKILL), finish(started_);
  }
  int port() const { return static_cast<int>(where_.get_int("port")); }
  const Json& where() const { return where_; }
  pid_t pid() const { return started_.pid; }
  Result end(int signal) {
    ::kill(started_.pid, signal);
    const Result result = finish(started_);
    started_.pid = 0;
    return result;
  }

 private:
  Started started_;
  Json where_;
};

}  // namespace r1::test
