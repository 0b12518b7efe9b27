// engine/engine.cc: each step starts samples of ready prompts, plans a ragged batch, runs the forward,
// samples and advances.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/integers.h"
#include "base/machine.h"
#include "base/random.h"
#include "engine/row_batch.h"
#include "engine/scheduler.h"
#include "model/lanes.h"
#include "model/memory.h"
#include "ops/convert/convert.h"
#include "ops/elementwise/elementwise.h"
#include "ops/sample/history.h"

namespace r1 {

std::vector<Request> unfinished_part(const Request& request,
                                     const std::function<bool(int64_t sample)>& is_finished) {
  std::vector<Request> parts;
  bool joins = false;  // the sample before this one is unfinished, too
  for (int64_t sample = request.first_sample; sample < request.first_sample + request.samples; ++sample) {
    if (is_finished(sample)) {
      joins = false;
      continue;
    }
    if (!joins) {
      parts.push_back(request);
      parts.back().first_sample = sample;
      parts.back().samples = 0;
    }
    ++parts.back().samples;
    joins = true;
  }
  return parts;
}

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::loop:
      return "loop";
  }
  return "?";
}

FinishReason finish_from_name(std::string_view name) {
  for (const FinishReason reason : {FinishReason::stop, FinishReason::length, FinishReason::loop}) {
    if (name_of(reason) == name) return reason;
  }
  throw Error("finish_reason is \"" + std::string(name) + "\"; it must be stop, length or loop");
}

bool is_looping(std::span<const int32_t> tokens) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  // A period must repeat at least four times within the window.
  for (int64_t period = 1; period <= kLoopTokens / 4 && n >= kLoopTokens; ++period) {
    bool same = true;
    for (int64_t i = n - 1; same && i >= n - kLoopTokens + period; --i) {
      same = tokens[static_cast<size_t>(i)] == tokens[static_cast<size_t>(i - period)];
    }
    if (same) return true;
  }
  return false;
}

struct Engine::Impl {
  Impl(const Model& m, Context& c, const EngineOptions& o)
      : model(m),
        ctx(c),
        options(o),
        packed_bytes(model_memory(m.config(), c.numerics, DType::f32).packed),
        parted(decodes_in_parts(o.max_batch, packed_bytes, c.threads.size())),
        part_tokens(most_part_tokens(o.max_batch, c.threads.size())) {}

  const Model& model;
  Context& ctx;
  EngineOptions options;
  int64_t packed_bytes;
  bool parted;          // whether some batches go in parts
  int64_t part_tokens;  // the most tokens of a part in one pass through the model
  KvCache cache;

  // State of the current run.
  std::span<const Request> requests;
  const OnToken* on_token = nullptr;
  std::function<void(Completion&)> on_done;  // may move the completion's vectors out
  std::unique_ptr<Scheduler> scheduler;
  std::map<int64_t, std::vector<float>>
      prompt_logits;  // by request; kept from the end of prefill until the last sample starts
  // A sample in progress.
  struct Live {
    Completion completion;
    std::unique_ptr<TokenHistory> history;  // null if its settings do not look back
  };
  std::unordered_map<const Sequence*, Live> live;
  RowBatch whole;
  std::vector<Sampled> drawn;  // by row of the batch

  // A thread's share of the decoding sequences, with the state to run them alone.
  struct Part {
    explicit Part(Numerics numerics) : lane(numerics) {}
    Lane lane;
    RowBatch batch;
    std::vector<ScheduledRow> rows;  // rows of the current forward; in decoding, rows that still run
    std::vector<Sequence*> ended;
    std::vector<Sampled> drawn;
    std::exception_ptr failed;
  };
  std::vector<std::unique_ptr<Part>> parts;

  // The index of a sequence's sample, which keys its random numbers.
  int64_t sample_of(const Sequence& s) const {
    return requests[static_cast<size_t>(s.request)].first_sample + s.sample;
  }

  void run(std::span<const Request> list);
  void prepare(std::span<const Request> list);
  void start();
  bool forward();
  void forward_rows(Context& c, RowBatch& batch, std::span<const ScheduledRow> rows, std::span<Sampled> out);
  bool goes_in_parts(std::span<const ScheduledRow> rows) const;
  void share_out(std::span<const ScheduledRow> rows);
  void in_parts(const std::function<void(Part&)>& body);
  void forward_part(Part& part);
  void forward_in_parts(std::span<const ScheduledRow> rows);
  void decode_in_parts(std::span<const ScheduledRow> rows);
  void decode_part(Part& part, std::atomic<bool>& meet);
  void take_drawn(Part& part);
  bool take(Sequence& sequence, const Sampled& sampled);
  void end(Sequence* sequence);
  Sampled draw(const Sequence& sequence, float* logits) const;
};

Engine::Engine(const Model& model, Context& ctx, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, ctx, options)) {
  R1_CHECK(ctx.tape == nullptr, "the engine samples without a tape");
}
Engine::~Engine() = default;

int64_t Engine::kv_bytes() const {
  return impl_->cache.pages() * KvCache::bytes_per_page(impl_->model.config(), impl_->cache.dtype());
}

int64_t Engine::part_bytes() const {
  int64_t bytes = 0;
  for (const auto& part : impl_->parts) bytes += static_cast<int64_t>(part->lane.arena.peak());
  return bytes;
}

int64_t part_activations(const ModelConfig& config, Numerics numerics, int64_t max_batch, int64_t keys,
                         const ThreadPool& threads) {
  const int64_t packed = model_memory(config, numerics, DType::f32).packed;
  if (!decodes_in_parts(max_batch, packed, threads.size())) return 0;
  const int64_t rows = most_part_tokens(max_batch, threads.size());
  return threads.size() * sampling_activations(config, numerics, rows, rows, keys, 1);
}

namespace {

// Returns the bytes of free memory that a cache may take, or 0 if they are unknown.
int64_t spare_memory() {
  const int64_t free = memory_facts().available, group = cgroup_limits().memory;
  const int64_t most = group > 0 && (free == 0 || group < free) ? group : free;
  return most / 4 * 3;
}

// Returns the most tokens that an answer may have. Throws Error if there is no room for any.
int64_t room_of(const Request& r, const ModelConfig& model, const std::string& what) {
  const int64_t length = static_cast<int64_t>(r.prompt.size());
  if (length >= model.max_positions) {
    throw Error(what + ": is " + std::to_string(length) +
                " tokens long and leaves no room for an answer in the model's context of " +
                std::to_string(model.max_positions));
  }
  const int64_t most = r.sampling.max_length;
  if (most > 0 && length >= most) {
    throw Error(what + ": is " + std::to_string(length) +
                " tokens long and leaves no room for an answer within max_length = " + std::to_string(most) +
                ": raise max_length, or give the number of new tokens");
  }
  const int64_t room = std::min(r.max_tokens, model.max_positions - length);
  return most > 0 ? std::min(room, most - length) : room;
}

}  // namespace

void Engine::Impl::prepare(std::span<const Request> list) {
  requests = list;
  live.clear();
  prompt_logits.clear();
  int64_t longest = 0, samples = 0, most_pages = 1;
  for (size_t i = 0; i < list.size(); ++i) {
    const Request& r = list[i];
    const std::string what = "prompt " + std::to_string(i);
    check_tokens(model.config(), r.prompt, what);
    if (r.max_tokens < 1 || r.samples < 1)
      throw Error(what + ": has no token or asks for no sample; it must have at least one of each");
    const int64_t length = static_cast<int64_t>(r.prompt.size());
    const int64_t total = length + room_of(r, model.config(), what);
    longest = std::max(longest, total);
    most_pages =
        std::max(most_pages, KvCache::pages_for(length) + KvCache::pages_for(total) - length / kKeyTile);
    samples += r.samples;
  }
  const int64_t per_page = KvCache::bytes_per_page(model.config(), ctx.activations());
  // The cache has room for a whole batch and for prompts that are prefilled ahead.
  int64_t want = (std::min(options.max_batch, samples) + 1) * (KvCache::pages_for(longest) + 1);
  if (options.kv_bytes > 0) want = std::min(want, options.kv_bytes / per_page);
  // A smaller cache changes no bit, only the number of sequences that run at a time.
  const int64_t spare = options.kv_bytes > 0 ? 0 : spare_memory();
  if (spare > 0) want = std::max(most_pages, std::min(want, spare / per_page));
  if (want < most_pages) {
    throw Error("the KV cache may use " + std::to_string(options.kv_bytes >> 20) +
                " MiB, the longest prompt and answer need " + std::to_string(most_pages * per_page >> 20) +
                " MiB: raise --memory-limit or lower --max-tokens");
  }
  if (want > cache.pages()) cache = KvCache(model.config(), want, ctx.activations());
  scheduler = std::make_unique<Scheduler>(SchedulerLimits{
      .max_batch = options.max_batch, .prefill_chunk = options.prefill_chunk, .pages = cache.pages()});
  if (parted) model.pack(ctx);
  for (size_t i = 0; i < list.size(); ++i) {
    scheduler->submit(static_cast<int64_t>(i), list[i].prompt, list[i].samples,
                      room_of(list[i], model.config(), ""));
  }
}

Sampled Engine::Impl::draw(const Sequence& s, float* logits) const {
  const Request& r = requests[static_cast<size_t>(s.request)];
  const auto bits = philox(
      {static_cast<uint32_t>(s.generated), static_cast<uint32_t>(sample_of(s)), r.key.prompt, r.key.step},
      {static_cast<uint32_t>(r.key.seed), static_cast<uint32_t>(r.key.seed >> 32)});
  const int64_t V = model.config().vocab_size;
  const float uniform = uniform_from_bits(bits[0]);
  const TokenHistory* history = live.find(&s)->second.history.get();
  return history == nullptr ? sample_token(logits, V, r.sampling, uniform)
                            : sample_token(logits, V, r.sampling, *history, r.stop_tokens, uniform);
}

// Takes the sample's next token; returns true if it is the last.
bool Engine::Impl::take(Sequence& s, const Sampled& sampled) {
  const Request& r = requests[static_cast<size_t>(s.request)];
  if (sampled.token == kNothingLeft) {
    throw Error("prompt " + std::to_string(s.request) + ": the sampling settings forbid every token after " +
                std::to_string(s.generated) + " (suppress_tokens, bad_words_ids, no_repeat_ngram_size)");
  }
  if (sampled.token < 0) {
    throw Error("prompt " + std::to_string(s.request) +
                ": the model's logits are not numbers: its weights are broken");
  }
  Live& sample = live.find(&s)->second;
  Completion& c = sample.completion;
  if (sample.history) sample.history->add(sampled.token);
  c.tokens.push_back(sampled.token);
  c.logprobs.push_back(sampled.logprob);
  s.next_token = sampled.token;
  ++s.generated;
  const bool wanted = !*on_token || (*on_token)(s.request, c.sample, sampled.token);
  if (!wanted || std::ranges::find(r.stop_tokens, sampled.token) != r.stop_tokens.end()) {
    c.finish = FinishReason::stop;
  } else if (s.generated >= s.max_generated) {
    c.finish = FinishReason::length;
  } else if (r.detect_loops && is_looping(c.tokens)) {
    c.finish = FinishReason::loop;
  } else {
    return false;
  }
  return true;
}

void Engine::Impl::end(Sequence* s) {
  auto done = live.extract(s);
  on_done(done.mapped().completion);
  scheduler->finish(s);
}

void Engine::Impl::start() {
  const int64_t V = model.config().vocab_size;
  // A sample may end with its first token and make room for another.
  for (;;) {
    const auto started = scheduler->start_samples();
    if (started.empty()) break;
    for (const auto& [sequence, prompt] : started) {
      Live& sample = live[sequence];
      sample.completion.request = sequence->request;
      sample.completion.sample = sample_of(*sequence);
      if (looks_back(requests[static_cast<size_t>(sequence->request)].sampling))
        sample.history = std::make_unique<TokenHistory>(prompt->tokens);
    }
    {
      const ArenaScope scope(ctx.arena);
      float* rows = ctx.arena.array<float>(V * ctx.threads.size());
      drawn.resize(started.size());
      ctx.threads.parallel_for_thread(std::ssize(started), 8, [&](int64_t begin, int64_t end, int thread) {
        float* row = rows + thread * V;
        for (int64_t i = begin; i < end; ++i) {
          const auto& [sequence, prompt] = started[static_cast<size_t>(i)];
          std::ranges::copy(prompt_logits.at(prompt->request), row);
          drawn[static_cast<size_t>(i)] = draw(*sequence, row);
        }
      });
    }
    for (size_t i = 0; i < started.size(); ++i) {
      const auto& [sequence, prompt] = started[i];
      if (sequence->sample == prompt->samples - 1) prompt_logits.erase(prompt->request);
      if (take(*sequence, drawn[i])) end(sequence);
    }
    scheduler->retire_prompts();
  }
}

// Runs one forward of some rows and draws a token for each row that decodes: out[i] belongs to row i. A
// finished prompt's logits are stored in the place that forward() made for them.
void Engine::Impl::forward_rows(Context& c, RowBatch& batch, std::span<const ScheduledRow> rows,
                                std::span<Sampled> out) {
  batch.build(rows);
  const ArenaScope scope(c.arena);
  const Tensor hidden = model.forward(c, batch.view(), cache);
  const int64_t V = model.config().vocab_size, n = std::ssize(batch.last_tokens());
  const Tensor last = gather_rows(c, hidden, batch.last_tokens());
  float* logits = c.arena.array<float>(n * V);
  matmul_into(c, as_f32(c, last), n, model.head(), logits);
  c.threads.parallel_for(std::ssize(rows), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t row = static_cast<size_t>(i);
      const Sequence* s = rows[row].sequence;
      if (s != nullptr) out[row] = draw(*s, logits + batch.logits_row(row) * V);
    }
  });
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].prompt == nullptr || batch.logits_row(i) < 0) continue;
    const float* at = logits + batch.logits_row(i) * V;
    prompt_logits.at(rows[i].prompt->request).assign(at, at + V);
  }
}

// Returns true if a step of the whole batch consists of many small ops, as in decoding and for short prompts.
bool Engine::Impl::goes_in_parts(std::span<const ScheduledRow> rows) const {
  int64_t tokens = 0, longest = 0;
  for (const ScheduledRow& row : rows) {
    tokens += row.tokens();
    longest = std::max(longest, row.tokens());
  }
  const int64_t threads = ctx.threads.size();
  return parted && std::ssize(rows) >= threads && longest <= part_tokens &&
         decodes_in_parts(tokens, packed_bytes, threads);
}

// Gives each part neighbouring sequences with about the same number of tokens.
void Engine::Impl::share_out(std::span<const ScheduledRow> rows) {
  const auto count = static_cast<size_t>(ctx.threads.size());
  while (parts.size() < count) parts.push_back(std::make_unique<Part>(ctx.numerics));
  int64_t all = 0, before = 0;
  for (const ScheduledRow& row : rows) all += row.tokens();
  for (const auto& part : parts) part->rows.clear(), part->ended.clear(), part->failed = nullptr;
  for (const ScheduledRow& row : rows) {
    parts[static_cast<size_t>(before * static_cast<int64_t>(count) / all)]->rows.push_back(row);
    before += row.tokens();
  }
}

void Engine::Impl::in_parts(const std::function<void(Part&)>& body) {
  ctx.threads.parallel_for(std::ssize(parts), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Part& part = *parts[static_cast<size_t>(i)];
      try {
        body(part);
      } catch (...) {
        part.failed = std::current_exception();
      }
    }
  });
  for (const auto& part : parts) {
    if (part->failed) std::rethrow_exception(part->failed);
  }
}

// Runs the part's rows, at most part_tokens tokens at a time.
void Engine::Impl::forward_part(Part& part) {
  const std::span<const ScheduledRow> rows = part.rows;
  part.drawn.resize(rows.size());
  for (size_t first = 0, end = 0; first < rows.size(); first = end) {
    int64_t tokens = 0;
    for (; end < rows.size() && tokens + rows[end].tokens() <= part_tokens; ++end)
      tokens += rows[end].tokens();
    forward_rows(part.lane.ctx, part.batch, rows.subspan(first, end - first),
                 std::span(part.drawn).subspan(first, end - first));
  }
}

void Engine::Impl::forward_in_parts(std::span<const ScheduledRow> rows) {
  share_out(rows);
  in_parts([this](Part& part) { forward_part(part); });
  drawn.clear();
  for (const auto& part : parts) drawn.insert(drawn.end(), part->drawn.begin(), part->drawn.end());
}

// Generates tokens for the part's sequences until some part has made kSlice tokens per sequence or has no
// sequence left. Then all parts meet, and the rest is shared out anew. With a listener (on_token) they meet
// after every token, because only the thread that called run() may call it.
void Engine::Impl::decode_part(Part& part, std::atomic<bool>& meet) {
  constexpr int kSlice = 16;
  for (int step = 1; !part.rows.empty(); ++step) {
    forward_part(part);
    if (*on_token) return;
    take_drawn(part);
    if (step == kSlice) meet = true;
    if (meet) return;
  }
  meet = true;
}

void Engine::Impl::take_drawn(Part& part) {
  size_t running = 0;
  for (size_t i = 0; i < part.rows.size(); ++i) {
    Sequence* s = part.rows[i].sequence;
    ++s->length;
    if (take(*s, part.drawn[i])) {
      part.ended.push_back(s);
    } else {
      part.rows[running++] = part.rows[i];
    }
  }
  part.rows.resize(running);
}

// Each thread runs a part of the decoding sequences through the whole model for several tokens. If all
// threads met at every token, each would wait for the slowest.
void Engine::Impl::decode_in_parts(std::span<const ScheduledRow> rows) {
  std::atomic<bool> meet = scheduler->has_waiting();  // requests that wait for a place in the batch
  share_out(rows);
  in_parts([&](Part& part) {
    try {
      decode_part(part, meet);
    } catch (...) {
      meet = true;
      throw;
    }
  });
  for (const auto& part : parts) {
    if (*on_token) take_drawn(*part);
    for (Sequence* s : part->ended) end(s);
  }
}

bool Engine::Impl::forward() {
  const std::vector<ScheduledRow> rows = scheduler->plan();
  if (rows.empty()) return false;
  const bool decode = std::ranges::all_of(rows, [](const ScheduledRow& r) { return r.sequence != nullptr; });
  if (decode && decodes_in_parts(std::ssize(rows), packed_bytes, ctx.threads.size())) {
    decode_in_parts(rows);
    return true;
  }
  for (const ScheduledRow& row : rows) {
    if (row.prompt != nullptr) prompt_logits.try_emplace(row.prompt->request);
  }
  if (goes_in_parts(rows)) {
    forward_in_parts(rows);
  } else {
    drawn.resize(rows.size());
    forward_rows(ctx, whole, rows, drawn);
  }
  scheduler->advance(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    Sequence* s = rows[i].sequence;
    if (s != nullptr && take(*s, drawn[i])) end(s);
  }
  return true;
}

void Engine::Impl::run(std::span<const Request> list) {
  prepare(list);
  do {
    start();
  } while (forward());
  R1_CHECK(scheduler->idle(), "the engine stopped with work left");
}

void Engine::stream(std::span<const Request> requests, const OnDone& on_done, const OnToken& on_token) {
  impl_->on_token = &on_token;
  impl_->on_done = on_done;
  impl_->run(requests);
}

std::vector<Completion> Engine::run(std::span<const Request> requests, const OnToken& on_token,
                                    const OnDone& on_done) {
  std::vector<Completion> completions;
  impl_->on_token = &on_token;
  impl_->on_done = [&](Completion& done) {
    if (on_done) on_done(done);
    completions.push_back(std::move(done));
  };
  impl_->run(requests);
  std::ranges::sort(completions, {}, [](const Completion& c) { return std::pair(c.request, c.sample); });
  return completions;
}

}  // namespace r1
