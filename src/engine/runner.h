// engine/runner.h: executes scheduled rows: the forward of their tokens, and the draw of the next ones. The
// engine knows the requests and the scheduler their order; a runner knows the model and the device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "engine/scheduler.h"
#include "ops/sample/sample.h"

namespace r1 {

// The runner calls this interface of its caller. Calls for different sequences may come from several threads
// at a time.
class RowSink {
 public:
  virtual ~RowSink() = default;
  // Returns the settings of the sequence's next draw; the runner adds the logits.
  virtual RowToSample draw_of(const Sequence& sequence) const = 0;
  // Returns the settings of the draw after that one if they are known already, because they do not depend on what
  // is drawn until then, and neither of the two has options.
  virtual std::optional<RowToSample> draw_after(const Sequence&) const { return std::nullopt; }
  // Takes the next token of a sequence, whose `computed` is up to date, and appends it to sequence.tokens.
  // Returns true if the sequence ends with it; then nothing may be appended.
  virtual bool take(Sequence& sequence, const Sampled& sampled) = 0;
  // Takes logits [row.end - row.logits_from, V] of a row whose logits_from is not -1, before the draw.
  virtual void logits(const ScheduledRow& row, std::span<const float> logits);
};

class Runner {
 public:
  virtual ~Runner() = default;

  // Makes room for so many pages. The first `keep` of the present ones keep what they hold.
  virtual void resize(int64_t pages, int64_t keep) = 0;
  virtual int64_t pages() const = 0;
  virtual int64_t page_bytes() const = 0;

  // Returns the number of tokens per sequence that one run() generates at best.
  virtual int64_t slice() const = 0;
  // Runs the rows. If each of them decodes, it may go on with them for up to `steps` tokens each; the
  // sequences have pages for that. Sets `computed` of the rows' sequences. The logits of a prompt's last
  // token are held.
  virtual void run(std::span<const ScheduledRow> rows, int64_t steps, RowSink& sink) = 0;
  // Draws the first token of samples whose prompts' logits are held.
  virtual void draw_first(std::span<Sequence* const> samples, RowSink& sink) = 0;
  // Drops the logits that are held for a request or for one of its samples.
  virtual void drop_logits(int64_t group) = 0;
  virtual void drop_logits(const Sequence& sample) = 0;
};

}  // namespace r1
