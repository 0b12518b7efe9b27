// bench/grammar_bench.cc: the time of a token mask, found again and made anew.
//
//   grammar_bench TOKENIZER.json [TEXT]      TEXT: a JSON object, read token by token
//
// Prints a line per grammar: the vocabulary, how long compiling took, and the mask's time at each token of
// TEXT: the first time (cold: the tree of tokens is walked) and the second time (warm: the mask is kept).
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/grammar/token_masks.h"
#include "formats/json.h"
#include "text/tokenizer.h"

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

void measure(const char* name, const std::shared_ptr<const r1::Grammar>& grammar, double compile_ms,
             const std::shared_ptr<const r1::TokenVocabulary>& vocabulary,
             const std::vector<int32_t>& tokens) {
  const r1::TokenMasks masks(grammar, vocabulary);
  std::vector<double> times[2];
  for (std::vector<double>& pass : times) {
    r1::GrammarState state(grammar);
    for (const int32_t token : tokens) {
      const auto begin = std::chrono::steady_clock::now();
      const auto mask = masks.mask(state);
      pass.push_back(milliseconds_since(begin));
      if (!state.accept(vocabulary->bytes(token)))
        throw r1::Error(std::string(name) + ": the grammar does not accept the text");
    }
    std::ranges::sort(pass);
  }
  const auto middle = [](const std::vector<double>& pass) { return pass[pass.size() / 2]; };
  fmt::print(
      "{:<14} V {}   compile ms {:.2f}   cold ms p50 {:.3f} max {:.3f}   warm ms p50 {:.5f} max {:.5f}\n",
      name, vocabulary->size(), compile_ms, middle(times[0]), times[0].back(), middle(times[1]),
      times[1].back());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: grammar_bench TOKENIZER.json [TEXT]\n");
    return 2;
  }
  try {
    const r1::Tokenizer tokenizer = r1::Tokenizer::load(argv[1]);
    const std::string text =
        argc > 2
            ? argv[2]
            : R"({"name": "A green door", "price": 12.5, "tags": ["home", "green"], "stock": {"here": 3, "there": null}})";
    const auto vocabulary = r1::TokenVocabulary::of(tokenizer, tokenizer.vocab_size());
    const std::vector<int32_t> tokens = tokenizer.encode(text, false);
    auto begin = std::chrono::steady_clock::now();
    const auto object = r1::Grammar::json_object();
    measure("json_object", object, milliseconds_since(begin), vocabulary, tokens);
    if (argc > 2) return 0;
    begin = std::chrono::steady_clock::now();
    const auto schema = r1::Grammar::from_json_schema(
        r1::parse_json(
            R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "price": {"type": "number", "minimum": 0},
          "tags": {"type": "array", "items": {"type": "string"}}, "stock": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}}},
          "required": ["name", "price"]})",
            "bench"),
        "bench");
    measure("schema", schema, milliseconds_since(begin), vocabulary, tokens);
  } catch (const r1::Error& e) {
    std::fprintf(stderr, "grammar_bench: %s\n", e.what());
    return 2;
  }
  return 0;
}
