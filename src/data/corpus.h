// data/corpus.h: the documents of the pre-training corpus: a question and a reasoning trace, as a pure
// function of (seed, index).
#pragma once

#include <cstdint>
#include <string>

#include "data/countdown_trace.h"

namespace r1 {

struct CorpusOptions : TraceOptions {
  double four_numbers = 0.2;  // share of problems with four numbers
  bool numbers_to_99 =
      false;  // problems of the task countdown99; their steps may have results up to rules.limit
};

struct CorpusText {
  std::string question;
  std::string response;  // <think>...</think><answer>...</answer>
  CountdownProblem problem;
};

// Draws from the training split only: held-out multisets never occur.
CorpusText make_corpus_text(const CorpusOptions& options, uint64_t seed, uint64_t index);

}  // namespace r1
