// engine/head_guesser.h: guesses of the MTP head (model/prediction.h) for sequences that decode.
//
// The head's keys lie in the last layer of the engine's cache, at the positions and in the pages of the
// sequences' own. The key of position t is made when token t + 1 is known: for a part of a prompt right after
// its forward, for a drawn token before the next guess. Until then the outputs of the model at these
// positions are kept. One call takes all of them, guesses the token two positions on, and goes on from its
// own output if it may guess more than one.
//
// Some keys of the head are missing or belong to another text: those of tokens that were computed while many
// sequences ran, of the last token of a prompt with several samples, and of the last token of a page that
// sequences share. All other layers' keys are never touched. So the head may guess worse than it could, and
// no bit of any answer depends on it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/row_batch.h"
#include "model/model.h"

namespace r1 {

class HeadGuesser {
 public:
  // `most`: guesses per step and sequence. The model outlives this.
  HeadGuesser(const Model& model, int64_t most);
  bool is_on() const { return most_ > 0; }

  // Returns up to wanted[i] guesses for each row that decodes.
  std::vector<std::vector<int32_t>> guess(Context& ctx, const KvCache& cache,
                                          std::span<const ScheduledRow> rows,
                                          std::span<const int64_t> wanted);
  // Called after the forward of rows, before a token is drawn: `hidden` [T, D] belongs to the batch's tokens.
  void observe(Context& ctx, const KvCache& cache, std::span<const ScheduledRow> rows, const RowBatch& batch,
               const Tensor& hidden);

  void drop(const Sequence& sequence) { kept_.erase({sequence.group->id, sequence.sample}); }
  void drop(int64_t group);
  // Forgets all sequences. Called while no guesses are made.
  void rest() { kept_.clear(); }

 private:
  // The model's outputs at positions [first, first + count) whose keys are still to be made.
  struct Kept {
    Buffer hidden;  // [capacity, D]
    int64_t first = 0, count = 0;
  };
  // Tokens [begin + 1, end + 1) of a sequence at positions [begin, end): a row of the head's batch.
  struct Row {
    const Sequence* sequence = nullptr;
    int64_t begin = 0;
    std::span<const int32_t> tokens;
    int64_t end() const { return begin + std::ssize(tokens); }
  };
  // Rows as the model's batch.
  struct HeadBatch {
    explicit HeadBatch(std::span<const Row> rows);
    Batch view() const { return {tokens, positions, offsets, pages, max_pages, prefixes, tails}; }
    std::vector<int32_t> tokens, positions, offsets{0}, pages, tails, last;
    std::vector<int64_t> prefixes;
    int64_t max_pages = 1;
  };
  static int64_t pending(const Kept& kept, int64_t position);
  static int64_t begin_unshared(const Row& row, std::span<const ScheduledRow> others);
  void keep(Context& ctx, const ScheduledRow& row, const Tensor& hidden, int64_t from, int64_t first,
            int64_t count);
  std::vector<int32_t> draw(Context& ctx, const Tensor& x) const;

  const Model& model_;
  int64_t most_, capacity_;
  std::map<std::pair<int64_t, int64_t>, Kept> kept_;  // by request and sample
};

}  // namespace r1
