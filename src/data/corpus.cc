#include "data/corpus.h"

#include "data/countdown_question.h"

namespace r1 {

CorpusText make_corpus_text(const CorpusOptions& options, uint64_t seed, uint64_t index) {
  constexpr uint32_t kCorpus = 0x636F7270;  // "corp": apart from every task's list
  Random random(seed, index, kCorpus);
  CorpusText text;
  CountdownOptions problem;
  if (options.numbers_to_99) problem = countdown99_options(Split::train);
  problem.four_numbers = options.four_numbers, problem.step_limit = options.rules.limit;
  text.problem = make_problem(random, problem);
  text.question = ask(text.problem, static_cast<int>(random.below(kPhrasings)));
  text.response = to_document(make_trace(random, text.problem, options));
  return text;
}

}  // namespace r1
