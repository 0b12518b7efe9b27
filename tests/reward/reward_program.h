// tests/reward/reward_program.h: the test binary as a reward program. A test names this binary as the
// command, with kProgramFlag and a mode as arguments, and a static initialiser takes over before any test
// runs.
//
//   right        scores as the task's own verifier does: 1 or 0
//   length       the score is the response's number of bytes; "why" has it too
//   reversed     answers the rows that it has read in reverse order, eight at a time or when none comes for a while
//   twice        answers every row twice, the second time with another score
//   no_flush     never answers
//   crash, exit, hang, garbage, wrong_id, no_score, error, flood, eat
//                answers as `length` does, but misbehaves as its name says for responses that contain "BAD"
//   some_fail    answers "error" for responses whose number of bytes is divisible by five, else as `right` does
//   always_exit  ends at once
//   noisy        fills its standard error before every answer
//   cwd          "why" is the name of its working folder
//   orphan       starts a grandchild that never ends, writes its process id to the file that the third argument names,
//                and answers as `length`
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/json.h"
#include "reward/verifier.h"

namespace r1::test {

inline constexpr const char* kProgramFlag = "--act-as-reward-program";

inline std::string this_binary() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

inline std::vector<std::string> program(const std::string& mode) {
  return {this_binary(), kProgramFlag, mode};
}

inline void say(const Json& answer) {
  std::cout << answer.dump() << std::endl;
}

inline Json length_answer(const Json& row) {
  const auto size = static_cast<int64_t>(row.get_string("response").size());
  Json out = Json::object();
  out.set("id", row.get_string("id")).set("score", size).set("why", "bytes " + std::to_string(size));
  return out;
}

inline Json right_answer(const Json& row) {
  const Verdict verdict = verify(row.get_string("task"), row.at("gold"), row.get_string("response"));
  Json out = Json::object();
  out.set("id", row.get_string("id")).set("score", verdict.correct ? 1 : 0).set("why", verdict.why);
  return out;
}

// Does what the mode does to a row with "BAD".
inline void misbehave(const std::string& mode, const Json& row) {
  if (mode == "crash") ::raise(SIGSEGV);
  if (mode == "exit") {
    std::cerr << "last words" << std::endl;
    std::exit(3);
  }
  if (mode == "hang") ::pause();
  if (mode == "garbage") std::cout << "Traceback, or a print that was forgotten" << std::endl;
  if (mode == "wrong_id") say(length_answer(row).set("id", "nobody"));
  if (mode == "no_score") say(Json::object().set("id", row.get_string("id")).set("grade", 1));
  if (mode == "error") say(Json::object().set("id", row.get_string("id")).set("error", "no idea"));
  if (mode == "flood") {
    for (const std::string part(1 << 16, 'x');;) std::cout << part;
  }
  if (mode == "eat") {
    std::vector<std::string> all;
    for (;;) all.emplace_back(size_t{64} << 20, 'x');
  }
}

[[noreturn]] inline void act(const std::string& mode, const std::string& file) {
  if (mode == "always_exit") std::exit(1);
  if (mode == "orphan" && ::fork() == 0) {
    std::ofstream(file) << ::getpid() << std::endl;
    for (;;) ::pause();
  }
  std::vector<Json> held;
  const auto answer_held = [&] {
    for (auto row = held.rbegin(); row != held.rend(); ++row) say(length_answer(*row));
    held.clear();
  };
  std::string text;
  for (std::string line; std::getline(std::cin, line);) {
    const Json row = parse_json(line, "row");
    if (mode == "no_flush") continue;
    if (row.get_string("response").find("BAD") != std::string::npos && mode != "right") {
      misbehave(mode, row);
      if (mode != "noisy" && mode != "reversed" && mode != "length") continue;
    }
    if (mode == "noisy") std::cerr << std::string(1 << 20, 'e') << std::endl;
    if (mode == "reversed") {
      held.push_back(row);
      pollfd more{0, POLLIN, 0};
      if (held.size() == 8 || (std::cin.rdbuf()->in_avail() <= 0 && ::poll(&more, 1, 50) == 0)) answer_held();
      continue;
    }
    const bool right = mode == "right" || mode == "some_fail";
    Json answer = right ? right_answer(row) : length_answer(row);
    if (mode == "some_fail" && row.get_string("response").size() % 5 == 0)
      answer = Json::object().set("id", row.get_string("id")).set("error", "no idea");
    if (mode == "fails_in_step_1" && row.get_string("id").starts_with("1/"))
      answer = Json::object().set("id", row.get_string("id")).set("error", "no idea");
    if (mode == "cwd") answer.set("why", std::filesystem::current_path().filename().string());
    say(answer);
    if (mode == "twice") say(answer.set("score", -1));
  }
  answer_held();
  std::exit(0);
}

// Runs before main, in every binary that includes this header.
[[gnu::constructor]] inline void act_if_asked(int argc, char** argv) {
  if (argc < 3 || std::string(argv[1]) != kProgramFlag) return;
  static std::ios_base::Init streams;  // this may run before the streams are initialised
  try {
    act(argv[2], argc > 3 ? argv[3] : "");
  } catch (const std::exception& e) {
    std::cerr << e.what() << std::endl;
    std::_Exit(70);
  }
}

}  // namespace r1::test
