// bench/verifier_bench.cc: verdicts per second of the math verifier on one core, and its slowest verdict.
//
//   verifier_bench ROWS.jsonl [REPEATS]      rows {"gold", "pred"}; prints one line and a JSON object
//
// If a row has a completion_tail, as those of verifier/math_model_answers.jsonl have, that text is judged in
// place of pred.
//
// Each verdict reads its gold again, as r1 verify does. "gold read once" times the verdicts of training and
// evaluation, which read a gold once. bench/peers/math_verify_peer.py times Math-Verify on the same rows.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/json.h"
#include "formats/jsonl.h"
#include "reward/math/math_verifier.h"
#include "reward/number.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int run(const std::string& path, int repeats) {
  struct Pair {
    std::string gold, text;
    std::unique_ptr<r1::MathVerifier> verifier;
  };
  std::vector<Pair> pairs;
  for (const r1::Json& row : r1::read_jsonl(path)) {
    Pair& pair = pairs.emplace_back(
        Pair{r1::gold_text(row.at("gold")),
             row.get_string(row.contains("completion_tail") ? "completion_tail" : "pred"), nullptr});
    pair.verifier = std::make_unique<r1::MathVerifier>(pair.gold);
  }
  if (pairs.empty()) throw r1::Error(path + ": has no rows");
  int64_t correct = 0;
  double worst = 0;
  auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) {
    for (const Pair& pair : pairs) {
      const auto start = std::chrono::steady_clock::now();
      correct += r1::MathVerifier(pair.gold).verify(pair.text).correct;
      worst = std::max(worst, seconds_since(start));
    }
  }
  const double verdicts = static_cast<double>(pairs.size()) * repeats;
  const double anew = verdicts / seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) {
    for (const Pair& pair : pairs) correct += pair.verifier->verify(pair.text).correct;
  }
  const double once = verdicts / seconds_since(begin);
  const double share = static_cast<double>(correct) / (2 * verdicts);
  fmt::print(
      "verifier  {} rows  {:.0f} verdicts/s  {:.0f} with the gold read once  slowest {:.2f} ms  correct "
      "{:.3f}\n",
      pairs.size(), anew, once, worst * 1e3, share);
  r1::Json out = r1::Json::object();
  out.set("bench", "verifier")
      .set("rows", pairs.size())
      .set("verdicts_per_s", anew)
      .set("gold_read_once_per_s", once);
  out.set("slowest_ms", worst * 1e3).set("correct", share);
  fmt::print("{}\n", out.dump());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw r1::Error("usage: verifier_bench ROWS.jsonl [REPEATS]");
    return run(argv[1], argc > 2 ? std::stoi(argv[2]) : 20);
  } catch (const r1::Error& e) {
    fmt::print(stderr, "verifier_bench: {}\n", e.what());
    return 2;
  }
}
