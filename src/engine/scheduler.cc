#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"
#include "model/kv_cache.h"
#include "tensor/batch.h"

namespace r1 {

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits), pool_(limits.pages) {
  R1_CHECK(limits.max_batch >= 1 && limits.prefill_chunk >= 1 && limits.pages >= 1, "limits ",
           limits.max_batch, " ", limits.prefill_chunk, " ", limits.pages);
}

bool Scheduler::fits(int64_t prompt_tokens, int64_t max_generated) const {
  const int64_t full = prompt_tokens / kKeyTile;
  return KvCache::pages_for(prompt_tokens) + KvCache::pages_for(prompt_tokens + max_generated) - full <=
         limits_.pages;
}

void Scheduler::submit(int64_t request, std::span<const int32_t> prompt, int64_t samples,
                       int64_t max_generated) {
  R1_CHECK(!prompt.empty() && samples >= 1 && max_generated >= 1 &&
               fits(static_cast<int64_t>(prompt.size()), max_generated),
           "request of ", prompt.size(), " tokens, ", samples, " samples, ", max_generated, " generated");
  Prompt& p = waiting_.emplace_back();
  p.request = request;
  p.tokens = prompt;
  p.samples = samples;
  p.max_generated = max_generated;
}

int64_t Scheduler::own_pages(const Prompt& prompt) const {
  const int64_t length = static_cast<int64_t>(prompt.tokens.size());
  return KvCache::pages_for(length + prompt.max_generated) - length / kKeyTile;
}

void Scheduler::admit() {
  // Prompts are prefilled a little ahead of the samples that have room, but never more than the batch could start.
  int64_t coming = running();
  for (const auto& prompt : prompts_) coming += prompt->samples - prompt->started;
  while (!waiting_.empty() && coming < limits_.max_batch) {
    Prompt& next = waiting_.front();
    const int64_t prompt_pages = KvCache::pages_for(static_cast<int64_t>(next.tokens.size()));
    if (prompt_pages + own_pages(next) > pool_.free_pages()) break;
    coming += next.samples;
    auto prompt = std::make_unique<Prompt>(std::move(next));
    waiting_.pop_front();
    for (int64_t i = 0; i < prompt_pages; ++i) prompt->pages.push_back(pool_.take());
    for (int64_t i = own_pages(*prompt); i > 0; --i) prompt->first_pages.push_back(pool_.take());
    prompts_.push_back(std::move(prompt));
  }
}

std::vector<Scheduler::Started> Scheduler::start_samples() {
  std::vector<Started> started;
  for (const auto& prompt : prompts_) {
    if (!prompt->ready()) continue;
    const int64_t length = static_cast<int64_t>(prompt->tokens.size());
    while (prompt->started < prompt->samples && running() < limits_.max_batch) {
      const bool first = prompt->started == 0;
      if (!first && own_pages(*prompt) > pool_.free_pages()) break;
      auto sequence = std::make_unique<Sequence>();
      sequence->request = prompt->request;
      sequence->sample = prompt->started++;
      sequence->prefix = sequence->length = length;
      sequence->max_generated = prompt->max_generated;
      const int64_t full = length / kKeyTile;
      for (int64_t i = 0; i < full; ++i) {
        pool_.share(prompt->pages[static_cast<size_t>(i)]);
        sequence->pages.push_back(prompt->pages[static_cast<size_t>(i)]);
      }
      if (first) {
        sequence->pages.insert(sequence->pages.end(), prompt->first_pages.begin(), prompt->first_pages.end());
        prompt->first_pages.clear();
      } else {
        for (int64_t i = own_pages(*prompt); i > 0; --i) sequence->pages.push_back(pool_.take());
      }
      if (length % kKeyTile != 0) {
        sequence->tail = prompt->pages.back();
        pool_.share(sequence->tail);
      }
      started.push_back({sequence.get(), prompt.get()});
      running_.push_back(std::move(sequence));
    }
  }
  return started;
}

std::vector<ScheduledRow> Scheduler::plan() {
  admit();
  std::vector<ScheduledRow> rows;
  for (const auto& sequence : running_) rows.push_back({.sequence = sequence.get()});
  int64_t budget = limits_.prefill_chunk;
  for (const auto& prompt : prompts_) {
    if (prompt->ready() || budget == 0) continue;
    const int64_t take = std::min(budget, static_cast<int64_t>(prompt->tokens.size()) - prompt->done);
    rows.push_back({.prompt = prompt.get(), .begin = prompt->done, .end = prompt->done + take});
    budget -= take;
  }
  return rows;
}

void Scheduler::advance(std::span<const ScheduledRow> rows) {
  for (const ScheduledRow& row : rows) {
    if (row.sequence != nullptr) {
      ++row.sequence->length;
    } else {
      row.prompt->done = row.end;
    }
  }
}

void Scheduler::finish(Sequence* sequence) {
  for (const int32_t page : sequence->pages) pool_.drop(page);
  if (sequence->tail >= 0) pool_.drop(sequence->tail);
  const auto at = std::ranges::find_if(running_, [&](const auto& s) { return s.get() == sequence; });
  R1_CHECK(at != running_.end(), "a sequence that is not running");
  running_.erase(at);
}

void Scheduler::retire_prompts() {
  std::erase_if(prompts_, [&](const std::unique_ptr<Prompt>& prompt) {
    if (!prompt->ready() || prompt->started < prompt->samples) return false;
    for (const int32_t page : prompt->pages) pool_.drop(page);
    return true;
  });
}

}  // namespace r1
