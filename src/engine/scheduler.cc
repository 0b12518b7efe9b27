#include "engine/scheduler.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "model/kv_cache.h"
#include "tensor/batch.h"

namespace r1 {
namespace {

int64_t prompt_size(const Group& group) {
  return static_cast<int64_t>(group.prompt.size());
}

int64_t page_count(const std::vector<int32_t>& pages) {
  return static_cast<int64_t>(pages.size());
}

}  // namespace

Scheduler::Scheduler(SchedulerLimits limits) : limits_(std::move(limits)), pool_(limits_.pages) {
  R1_CHECK(limits_.max_batch >= 1 && limits_.prefill_chunk >= 1, "limits ", limits_.max_batch, " ",
           limits_.prefill_chunk);
}

// A prompt that ends inside a page shares that page with its samples, each of which has another for its own
// tokens.
int64_t Scheduler::pages_needed(int64_t prompt_tokens, int64_t samples, int64_t max_generated) {
  const int64_t split = samples > 1 && prompt_tokens % kKeyTile != 0 ? 1 : 0;
  return KvCache::pages_for(prompt_tokens + max_generated) + split;
}

void Scheduler::submit(Group group) {
  R1_CHECK(!group.prompt.empty() && group.samples >= 1 && group.max_generated >= 1 &&
               pages_needed(prompt_size(group), group.samples, group.max_generated) <= pool_.size(),
           "request of ", group.prompt.size(), " tokens, ", group.samples, " samples, ", group.max_generated,
           " generated, ", pool_.size(), " pages");
  std::unique_ptr<Group>& at = groups_[group.id];
  R1_CHECK(at == nullptr, "request ", group.id, " is in progress");
  at = std::make_unique<Group>(std::move(group));
  at->order = orders_++;
  at->started = at->ended = 0;
  waiting_.push_back(at.get());
  waiting_samples_ += at->samples;
}

// A prompt is as old as the next sample that starts from it, because that sample is all it is kept for.
Scheduler::Age Scheduler::age_of(const Sequence& s) {
  return {s.group->order, s.is_prompt() ? s.group->started : s.sample};
}

void Scheduler::insert(Sequences& into, std::unique_ptr<Sequence> sequence) {
  const auto at =
      std::ranges::upper_bound(into, age_of(*sequence), {}, [](const auto& other) { return age_of(*other); });
  into.insert(at, std::move(sequence));
}

// Returns the pages of a sample that it does not share with its prompt.
int64_t Scheduler::own_pages(const Group& group) const {
  return KvCache::pages_for(prompt_size(group) + group.max_generated) - prompt_size(group) / kKeyTile;
}

bool Scheduler::has_waiting() const {
  return !waiting_.empty() || !preempted_.empty() ||
         std::ranges::any_of(running_, [](const auto& s) { return s->is_prompt(); });
}

int64_t Scheduler::available() const {
  int64_t pages = pool_.free_pages() + tree_.evictable(), growing = 0;
  for (const auto& s : running_) {
    pages -= std::max<int64_t>(0, KvCache::pages_for(s->size()) - page_count(s->pages));
    growing += s->group->reserve ? 0 : 1;
  }
  return pages - growing / 8;  // a few of them will need another page soon
}

// Brings `pages` pages into the pool: first from the tree, then from younger sequences.
bool Scheduler::free_up(int64_t pages, const Age& age, bool may_preempt) {
  while (pool_.free_pages() < pages) {
    if (const std::optional<int32_t> page = tree_.evict()) {
      pool_.drop(*page);
    } else if (may_preempt && !running_.empty() && age_of(*running_.back()) > age) {
      preempt(running_.size() - 1);
    } else {
      return false;
    }
  }
  return true;
}

bool Scheduler::take_pages(std::vector<int32_t>& into, int64_t wanted, const Age& age, bool may_preempt) {
  if (!free_up(wanted, age, may_preempt)) return false;
  for (int64_t i = 0; i < wanted; ++i) into.push_back(pool_.take());
  return true;
}

// Gives a running sequence pages for so many positions. Returns false if it is the youngest and there are
// none.
bool Scheduler::hold(Sequence& s, int64_t positions) {
  const int64_t wanted = KvCache::pages_for(positions) - page_count(s.pages);
  return wanted <= 0 || take_pages(s.pages, wanted, age_of(s), true);
}

void Scheduler::release(Sequence& s) {
  for (const int32_t page : s.pages) pool_.drop(page);
  for (const int32_t page : s.set_aside) pool_.drop(page);
  if (s.tail >= 0) pool_.drop(s.tail);
  if (s.node != nullptr) tree_.unpin(s.node);
  s.pages.clear();
  s.set_aside.clear();
  s.computed = s.prefix = s.guessed = 0;
  s.tail = -1;
  s.node = nullptr;
}

void Scheduler::preempt(size_t index) {
  std::unique_ptr<Sequence> s = std::move(running_[index]);
  running_.erase(running_.begin() + static_cast<int64_t>(index));
  release(*s);
  s->again = true;
  if (!s->is_prompt()) --samples_;
  ++preemptions_;
  insert(preempted_, std::move(s));
}

// Gives a sequence without pages those of a known prefix, and those that it reserves. Returns false if there
// is no room for its tokens and the next one.
bool Scheduler::begin(Sequence& s) {
  Group& group = *s.group;
  if (limits_.keep_prefixes && !group.fresh) {
    // The last token is always computed, because its logits are needed.
    s.node = tree_.pin({weights_, limits_.numerics, group.owner}, s.tokens, (s.size() - 1) / kKeyTile);
    for (const PrefixTree::Node* node = s.node; node->depth() > 0; node = node->parent())
      s.pages.push_back(node->page());
    std::ranges::reverse(s.pages);
    for (const int32_t page : s.pages) pool_.share(page);
  }
  const int64_t known = page_count(s.pages);
  const int64_t all = prompt_size(group) + group.max_generated;
  const int64_t wanted = KvCache::pages_for(s.is_prompt()   ? s.size()
                                            : group.reserve ? all
                                                            : s.size() + 1) -
                         known;
  const int64_t aside = !s.is_prompt() ? 0 : group.reserve ? own_pages(group) : 1;
  if (wanted + aside > available()) {
    release(s);
    return false;
  }
  s.computed = known * kKeyTile;
  cached_tokens_ += s.computed;
  if (group.cached < 0) group.cached = s.computed;
  if (!group.reserve) return true;
  const bool taken =
      take_pages(s.pages, wanted, age_of(s), false) && take_pages(s.set_aside, aside, age_of(s), false);
  R1_CHECK(taken, "available pages are missing");
  return true;
}

void Scheduler::resume() {
  while (!preempted_.empty()) {
    Sequence& oldest = *preempted_.front();
    if (!oldest.is_prompt() && samples_ >= limits_.max_batch) return;
    if (!begin(oldest)) return;
    if (!oldest.is_prompt()) ++samples_;
    insert(running_, std::move(preempted_.front()));
    preempted_.erase(preempted_.begin());
  }
}

void Scheduler::admit() {
  // Prompts are prefilled a little ahead of the samples that have room, but never more than the batch could
  // start.
  int64_t coming = samples_;
  for (const auto& s : running_) coming += s->is_prompt() ? s->group->samples - s->group->started : 0;
  while (preempted_.empty() && !waiting_.empty() && coming < limits_.max_batch) {
    Group& group = *waiting_.front();
    auto s = std::make_unique<Sequence>();
    s->group = &group;
    s->sample = group.samples > 1 ? Sequence::kPrompt : 0;
    s->tokens = group.prompt;
    if (!begin(*s)) return;
    if (!s->is_prompt()) ++samples_, ++group.started;
    coming += group.samples;
    waiting_samples_ -= group.samples;
    waiting_.pop_front();
    insert(running_, std::move(s));
  }
}

bool Scheduler::has_room_for_sample(const Group& group) const {
  return (group.reserve ? own_pages(group) : 1) <= available();
}

// Starts the next sample of a prompt that is ready.
bool Scheduler::fork(size_t index, std::vector<Sequence*>& started) {
  Sequence& prompt = *running_[index];
  Group& group = *prompt.group;
  const Age age = age_of(prompt);
  if (samples_ >= limits_.max_batch || (!preempted_.empty() && age_of(*preempted_.front()) < age))
    return false;
  std::vector<int32_t> own = std::exchange(prompt.set_aside, {});
  // The oldest of all may take pages from younger ones.
  const bool oldest = index == 0;
  if (own.empty()) {
    if (!oldest && !has_room_for_sample(group)) return false;
    if (!take_pages(own, group.reserve ? own_pages(group) : 1, age, oldest)) return false;
  }
  auto s = std::make_unique<Sequence>();
  s->group = &group;
  s->sample = group.started;
  s->tokens = group.prompt;
  s->computed = s->prefix = prompt.size();
  const int64_t full = prompt.size() / kKeyTile;
  s->pages.assign(prompt.pages.begin(), prompt.pages.begin() + full);
  for (const int32_t page : s->pages) pool_.share(page);
  s->pages.insert(s->pages.end(), own.begin(), own.end());
  if (prompt.size() % kKeyTile != 0) {
    s->tail = prompt.pages.back();
    pool_.share(s->tail);
  }
  s->node = prompt.node;
  if (s->node != nullptr) tree_.pin_again(s->node);
  started.push_back(s.get());
  ++samples_;
  ++group.started;
  running_.insert(running_.begin() + static_cast<int64_t>(index), std::move(s));
  return true;
}

std::vector<Sequence*> Scheduler::start_samples() {
  std::vector<Sequence*> started;
  for (size_t i = 0; i < running_.size(); ++i) {
    while (running_[i]->is_ready() && running_[i]->group->started < running_[i]->group->samples &&
           fork(i, started)) {
      ++i;  // the sample has taken the prompt's place
    }
    if (running_[i]->is_ready() && running_[i]->group->started == running_[i]->group->samples) {
      release(*running_[i]);
      running_.erase(running_.begin() + static_cast<int64_t>(i));
      --i;
    }
  }
  return started;
}

Plan Scheduler::plan(int64_t steps) {
  resume();
  admit();
  Plan plan;
  int64_t budget = limits_.prefill_chunk;
  bool decode = true;
  std::set<NextPage> computing;  // pages that this plan's rows complete
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    const int64_t behind = s.size() - s.computed;
    const bool decodes = !s.is_prompt() && behind == 1 && s.generated() > 0;
    std::optional<NextPage> page;
    if (!decodes) {
      catch_up(s);
      page = next_page(s);
      const bool at_page = s.computed % kKeyTile == 0;
      if (page && at_page && computing.contains(*page)) continue;
    }
    const int64_t take = decodes ? 1 : std::min(budget, s.size() - s.computed);
    if (take == 0) continue;
    if (!hold(s, s.computed + take)) {
      R1_CHECK(i > 0 && i == running_.size() - 1, "the oldest sequence has no page");
      preempt(i);
      break;
    }
    if (!decodes) budget -= take;
    if (page && s.computed + take >= (s.node->depth() + 1) * kKeyTile) computing.insert(*page);
    decode = decode && decodes;
    plan.rows.push_back({.sequence = &s, .begin = s.computed, .end = s.computed + take});
  }
  if (decode && steps > 1 && !has_waiting()) plan.steps = more_steps(plan.rows, steps);
  return plan;
}

// Returns how many tokens every row may decode, up to `steps`, and gives the rows pages for them without
// preempting any.
int64_t Scheduler::more_steps(std::span<const ScheduledRow> rows, int64_t steps) {
  for (const ScheduledRow& row : rows) {
    Sequence& s = *row.sequence;
    // The sample may end before it makes so many tokens.
    const int64_t most = std::min(steps, s.group->max_generated - s.generated());
    const int64_t wanted = KvCache::pages_for(s.computed + most) - page_count(s.pages);
    if (wanted > 0 && !take_pages(s.pages, wanted, age_of(s), false))
      steps = std::min(steps, page_count(s.pages) * kKeyTile - s.computed);
  }
  return steps;
}

void Scheduler::advance(std::span<const ScheduledRow> rows) {
  for (const ScheduledRow& row : rows) keep_full_pages(*row.sequence);
}

// Adds the sequence's full pages to the tree. A page that the tree has from another sequence takes the place
// of the sequence's own.
void Scheduler::keep_full_pages(Sequence& s) {
  if (s.node == nullptr || s.tail >= 0) return;
  while ((s.node->depth() + 1) * kKeyTile <= s.computed) {
    const int64_t depth = s.node->depth();
    int32_t& page = s.pages[static_cast<size_t>(depth)];
    s.node = tree_.extend(s.node,
                          std::span(s.tokens).subspan(static_cast<size_t>(depth * kKeyTile), kKeyTile), page);
    pool_.share(s.node->page());  // by the tree if the page is new to it, else by the sequence
    if (s.node->page() != page) {
      pool_.drop(page);
      page = s.node->page();
    }
  }
}

// Returns what names the next page that the sequence completes, if the tree will have it and another sequence
// may be in need of the same page.
std::optional<Scheduler::NextPage> Scheduler::next_page(const Sequence& s) const {
  if (s.node == nullptr || s.tail >= 0) return std::nullopt;
  const int64_t first = s.node->depth() * kKeyTile;
  if (s.size() <= first + kKeyTile) return std::nullopt;
  NextPage page{s.node, {}};
  std::copy_n(s.tokens.begin() + first, kKeyTile, page.second.begin());
  return page;
}

// Continues from pages that another sequence has completed since this one began.
void Scheduler::catch_up(Sequence& s) {
  while (s.node != nullptr && s.computed == s.node->depth() * kKeyTile) {
    const std::optional<NextPage> page = next_page(s);
    if (!page) return;
    PrefixTree::Node* const known = tree_.pin_child(s.node, page->second);
    if (known == nullptr) return;
    const auto depth = static_cast<size_t>(s.node->depth());
    pool_.share(known->page());
    if (depth < s.pages.size()) {
      pool_.drop(std::exchange(s.pages[depth], known->page()));
    } else {
      s.pages.push_back(known->page());
    }
    s.node = known;
    s.computed += kKeyTile;
    cached_tokens_ += kKeyTile;
    if (!s.again && s.computed <= prompt_size(*s.group)) s.group->cached += kKeyTile;
  }
}

void Scheduler::finish(Sequence* sequence) {
  Group& group = *sequence->group;
  const auto is_it = [sequence](const auto& s) { return s.get() == sequence; };
  release(*sequence);
  if (std::erase_if(running_, is_it) > 0) {
    --samples_;
  } else {
    R1_CHECK(std::erase_if(preempted_, is_it) > 0, "a sequence that has not started");
  }
  if (++group.ended == group.samples) groups_.erase(group.id);
}

void Scheduler::cancel(int64_t id) {
  const auto at = groups_.find(id);
  if (at == groups_.end()) return;
  const Group* group = at->second.get();
  for (const auto& s : running_) {
    if (s->group != group) continue;
    release(*s);
    if (!s->is_prompt()) --samples_;
  }
  const auto of_group = [group](const auto& s) { return s->group == group; };
  std::erase_if(running_, of_group);
  std::erase_if(preempted_, of_group);
  if (std::erase(waiting_, at->second.get()) > 0) waiting_samples_ -= group->samples;
  groups_.erase(at);
}

void Scheduler::forget_pages() {
  while (!running_.empty()) preempt(running_.size() - 1);
  while (const std::optional<int32_t> page = tree_.evict()) pool_.drop(*page);
  R1_CHECK(pool_.free_pages() == pool_.size(), pool_.size() - pool_.free_pages(), " pages are lost");
  ++weights_;
}

void Scheduler::grow(int64_t pages) {
  pool_.grow(pages);
}

}  // namespace r1
