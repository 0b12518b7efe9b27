// tests/emulator/machine.cc: how warps, blocks and clusters take turns.
#include "tests/emulator/machine.h"

#include <algorithm>
#include <bit>

namespace r1::emulator {
namespace {

// A barrier in shared memory: threads expected in a phase (bits 0 to 19), threads still missing (20 to 39), the parity of
// the phase (40), bytes still missing (41 to 63, in two's complement).
struct PhaseBarrier {
  uint32_t expected, missing, parity;
  int64_t bytes;

  static PhaseBarrier read(const std::byte* at) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return {static_cast<uint32_t>(word & 0xFFFFF), static_cast<uint32_t>(word >> 20 & 0xFFFFF),
            static_cast<uint32_t>(word >> 40 & 1), static_cast<int64_t>(word) >> 41};
  }
  void write(std::byte* at) {
    if (missing == 0 && bytes == 0) {
      parity ^= 1;
      missing = expected;
    }
    const uint64_t word =
        expected | uint64_t{missing} << 20 | uint64_t{parity} << 40 | static_cast<uint64_t>(bytes) << 41;
    std::memcpy(at, &word, sizeof word);
  }
};

constexpr int kPassesUntilStuck = 2000;  // in which every warp waited or found nothing new
constexpr size_t kMostClusters = 2048;   // at once

}  // namespace

uint32_t Cluster::live_threads() const {
  uint32_t sum = 0;
  for (const auto& block : blocks) sum += block->live_threads;
  return sum;
}
void Cluster::check_arrived() {
  if (arrived > 0 && arrived >= live_threads()) {
    arrived = 0;
    ++phase;
  }
}

void Block::arrive(int name, uint32_t warps) {
  const auto at = static_cast<size_t>(name);
  expected_warps[at] = warps;
  ++waiting_warps[at];
  check_barrier(name);
}
void Block::check_barrier(int name) {
  const auto at = static_cast<size_t>(name);
  const uint32_t expected = expected_warps[at] == 0 ? live_warps : expected_warps[at];
  if (waiting_warps[at] == 0 || waiting_warps[at] < expected) return;
  waiting_warps[at] = 0;
  for (const auto& warp : warps)
    if (warp->barrier() == name) warp->release_barrier();
}
void Block::warp_ends(uint32_t threads) {
  live_threads -= threads;
  --live_warps;
  for (int name = 0; name < 16; ++name)
    if (expected_warps[static_cast<size_t>(name)] == 0) check_barrier(name);
  cluster->check_arrived();
}

void Block::arrive_at(uint32_t barrier, uint32_t threads, int64_t expect_bytes) {
  std::byte* const at = shared.data() + barrier;
  PhaseBarrier b = PhaseBarrier::read(at);
  b.bytes += expect_bytes;
  for (uint32_t i = 0; i < threads; ++i) {
    b.missing -= 1;
    b.write(at);
    b = PhaseBarrier::read(at);
  }
}
void Block::complete_bytes(uint32_t barrier, uint32_t bytes) {
  std::byte* const at = shared.data() + barrier;
  PhaseBarrier b = PhaseBarrier::read(at);
  b.bytes -= bytes;
  b.write(at);
}
bool Block::phase_is_over(uint32_t barrier, uint32_t parity) {
  for (size_t i = 0; i < loads.size();) {
    if (loads[i].barrier != barrier) {
      ++i;
      continue;
    }
    const TensorLoad load = std::move(loads[i]);
    loads.erase(loads.begin() + static_cast<std::ptrdiff_t>(i));
    load.write();
    complete_bytes(barrier, load.bytes);
  }
  return PhaseBarrier::read(shared.data() + barrier).parity != parity;
}

std::byte* Block::memory(uint32_t address, size_t bytes, const Warp& by, const Inst& inst) {
  const uint32_t offset = address & ((1u << kRankShift) - 1);
  if (offset < kSharedBase || offset + bytes > shared.size())
    by.fault(inst, Fault::Kind::address,
             "shared memory " + std::to_string(offset) + " of " + std::to_string(shared.size()));
  return shared.data() + offset;
}

Warp::Warp(Block& block, const Code& code, uint32_t index)
    : block_(block),
      code_(code),
      frame_(new std::byte[code.frame_bytes + 64]),
      constants_(code.constants.data()),
      local_(code.local_bytes * kLanes, std::byte{0xFF}),
      first_thread_(index * kLanes) {
  const Dim& size = block.launch->block;
  const auto threads = static_cast<uint32_t>(size.count());
  const uint32_t here = std::min<uint32_t>(kLanes, threads - first_thread_);
  live_ = here == kLanes ? kAllLanes : (1u << here) - 1;
  groups_.push_back({0, live_});
  for (const Special& special : code.specials) set_special(special);
}

void Warp::set_special(const Special& special) {
  const Launch& launch = *block_.launch;
  const Dim& size = launch.block;
  uint32_t* const lanes = to<uint32_t>(special.slot);
  const auto set = [&](uint32_t value) { std::fill_n(lanes, kLanes, value); };
  switch (special.kind) {
    case Special::Kind::parameters:
      std::fill_n(to<uint64_t>(special.slot), kLanes,
                  reinterpret_cast<uint64_t>(parameters()) + static_cast<uint64_t>(special.offset));
      break;
    case Special::Kind::ntid:
      set(size.along(special.axis));
      break;
    case Special::Kind::ctaid:
      set(block_.index.along(special.axis));
      break;
    case Special::Kind::nctaid:
      set(launch.grid.along(special.axis));
      break;
    case Special::Kind::rank:
      set(block_.rank);
      break;
    case Special::Kind::lane:
      for (uint32_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lane;
      break;
    case Special::Kind::tid:
      for (uint32_t lane = 0; lane < kLanes; ++lane) {
        const uint32_t thread = first_thread_ + lane;
        const Dim at{thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
        lanes[lane] = at.along(special.axis);
      }
      break;
  }
}

bool Warp::waits() const {
  return barrier_ >= 0 || (in_cluster_wait_ && block_.cluster->phase == cluster_phase_);
}

void Warp::fault(const Inst& inst, Fault::Kind kind, const std::string& why) const {
  size_t from = 0;
  for (int line = 1; line < inst.line; ++line) from = code_.text->find('\n', from) + 1;
  const std::string text = code_.text->substr(from, code_.text->find('\n', from) - from);
  const Dim& b = block_.index;
  throw Fault{kind, code_.name + ", block " + std::to_string(b.x) + "," + std::to_string(b.y) + "," +
                        std::to_string(b.z) + ", warp " + std::to_string(first_thread_ / kLanes) + ", line " +
                        std::to_string(inst.line) + ": " + text + ": " + why};
}

std::byte* Warp::find_global(const Inst& inst, uint64_t address, size_t bytes) const {
  const auto parameters_at = reinterpret_cast<uint64_t>(parameters());
  const bool is_parameter =
      address >= parameters_at && address + bytes <= parameters_at + block_.launch->parameters.size();
  if (!is_parameter) {
    inst.known_since = range_removals.load(std::memory_order_relaxed);
    inst.known_bytes = 0;
    if (!find_range(address, &inst.known, &inst.known_bytes) ||
        address + bytes > inst.known + inst.known_bytes)
      fault(inst, Fault::Kind::address, "no such memory of the device: " + std::to_string(address));
  }
  if (address % bytes != 0) fault(inst, Fault::Kind::alignment, "the address is not aligned");
  return reinterpret_cast<std::byte*>(address);
}
std::byte* Warp::find_shared(const Inst& inst, uint64_t address, size_t bytes) const {
  if (address >> 32 != 0) fault(inst, Fault::Kind::address, "not an address of shared memory");
  if (address % bytes != 0) fault(inst, Fault::Kind::alignment, "the address is not aligned");
  const auto rank = static_cast<size_t>(address >> kRankShift);
  if (rank > block_.cluster->blocks.size()) fault(inst, Fault::Kind::address, "no such block in the cluster");
  Block& owner = rank == 0 ? block_ : *block_.cluster->blocks[rank - 1];
  return owner.memory(static_cast<uint32_t>(address), bytes, *this, inst);
}
std::byte* Warp::local(const Inst& inst, uint64_t address, size_t bytes, int lane) {
  if (address + bytes > code_.local_bytes)
    fault(inst, Fault::Kind::address, "local memory " + std::to_string(address));
  if (address % bytes != 0) fault(inst, Fault::Kind::alignment, "the address is not aligned");
  return local_.data() + static_cast<size_t>(lane) * code_.local_bytes + address;
}
std::byte* Warp::generic(const Inst& inst, uint64_t address, size_t bytes, int lane) {
  if (address >> 56 == kSharedWindow >> 56) return shared(inst, address - kSharedWindow, bytes);
  if (address >> 56 == kLocalWindow >> 56) return local(inst, address - kLocalWindow, bytes, lane);
  return global(inst, address, bytes);
}

void Warp::finish_copies(size_t pending_groups) {
  while (copy_groups.size() > pending_groups) {
    for (const Copy& copy : copy_groups.front()) {
      std::memcpy(copy.to, copy.from, copy.read);
      std::memset(copy.to + copy.read, 0, copy.bytes - copy.read);
    }
    copy_groups.pop_front();
  }
}
void Warp::finish_stores(size_t pending_groups) {
  while (store_groups.size() > pending_groups) {
    for (const auto& store : store_groups.front()) store();
    store_groups.pop_front();
  }
}

// The group to go on with: the one that is furthest behind, so that the others can join; those at one place are made one.
size_t Warp::select() {
  for (;;) {
    size_t best = groups_.size();
    for (size_t i = 0; i < groups_.size(); ++i)
      if (!groups_[i].held && (best == groups_.size() || groups_[i].pc < groups_[best].pc)) best = i;
    if (best == groups_.size()) {
      const Inst& inst = code_.insts[groups_[0].pc];
      fault(inst, Fault::Kind::divergence, "threads of the warp that should take part never come here");
    }
    bool joined = false;
    for (size_t i = 0; i < groups_.size() && !joined; ++i) {
      if (i == best || groups_[i].pc != groups_[best].pc) continue;
      groups_[best].lanes |= groups_[i].lanes;
      groups_.erase(groups_.begin() + static_cast<std::ptrdiff_t>(i));
      joined = true;
    }
    if (!joined) return best;
  }
}

void Warp::end_lanes(uint32_t lanes) {
  live_ &= ~lanes;
  if (live_ != 0) return;
  copy_groups.push_back(std::move(copies));
  finish_copies(0);
  store_groups.push_back(std::move(stores));
  finish_stores(0);
  const auto threads =
      std::min<uint32_t>(kLanes, static_cast<uint32_t>(block_.launch->block.count()) - first_thread_);
  block_.warp_ends(threads);
}

// True if all of the wanted threads that have not ended are in the group; otherwise the group waits for them.
bool Warp::all_here(Group& group, uint32_t wanted, bool* changed) const {
  if ((wanted & live_ & ~group.lanes) == 0) return true;
  group.held = true;
  *changed = true;
  return false;
}

void Warp::branch(Group& group, uint32_t target, uint32_t lanes, bool* changed) {
  if (lanes == group.lanes) {
    group.pc = target;
  } else if (lanes == 0) {
    ++group.pc;
  } else {
    const Group others{group.pc + 1, group.lanes & ~lanes};
    group = {target, lanes};
    groups_.push_back(others);
    *changed = true;
  }
}

void Warp::end_part(Group& group, uint32_t lanes, bool* changed) {
  const uint32_t rest = group.lanes & ~lanes;
  group = {group.pc + 1, rest};
  if (rest == 0) {
    std::erase_if(groups_, [](const Group& g) { return g.lanes == 0; });
    *changed = true;
  }
  for (Group& g : groups_) g.held = false;  // nobody waits for those that have ended
  end_lanes(lanes);
}

// Sets the predicate of the threads whose phase is over, and returns them.
uint32_t Warp::try_wait(const Inst& inst, uint32_t lanes) {
  uint32_t over = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((lanes >> lane & 1) == 0) continue;
    const auto at = static_cast<uint32_t>(address(inst, inst.o[1], lane));
    shared(inst, at, 8);
    if (block_.phase_is_over(at, from<uint32_t>(inst.o[2])[lane] & 1)) over |= 1u << lane;
  }
  set_predicate(inst.o[0], over, lanes);
  return over;
}

// Executes one instruction for the threads of a group.
Warp::Stop Warp::step(Group& group, bool* changed) {
  const Inst& inst = code_.insts[group.pc];
  uint32_t lanes = group.lanes;
  if (inst.guard >= 0) lanes &= inst.guard_not ? ~predicate(inst.guard) : predicate(inst.guard);
  const auto value = [&](int32_t operand) { return from<uint32_t>(operand)[std::countr_zero(lanes)]; };
  switch (inst.flow) {
    case Flow::converged:
      if (!all_here(group, inst.all_lanes || lanes == 0 ? kAllLanes : value(inst.members), changed)) break;
      [[fallthrough]];
    case Flow::plain:
      if (lanes != 0) inst.execute(*this, inst, lanes);
      ++group.pc;
      break;
    case Flow::branch:
      branch(group, inst.target, lanes, changed);
      break;
    case Flow::exit:
      end_part(group, lanes, changed);
      if (live_ == 0) return Stop::ended;
      break;
    case Flow::barrier:
      if (!all_here(group, kAllLanes, changed)) break;
      ++group.pc;
      if (lanes == 0) break;
      barrier_ = static_cast<int>(value(inst.o[0]));
      block_.arrive(barrier_, inst.o.size() > 1 ? (value(inst.o[1]) + kLanes - 1) / kLanes : 0);
      if (barrier_ >= 0) return Stop::waits;
      break;
    case Flow::cluster_arrive:
      ++group.pc;
      cluster_phase_ = block_.cluster->phase;
      block_.cluster->arrived += static_cast<uint32_t>(std::popcount(lanes));
      block_.cluster->check_arrived();
      break;
    case Flow::cluster_wait:
      if (!all_here(group, kAllLanes, changed)) break;
      ++group.pc;
      in_cluster_wait_ = true;
      if (waits()) return Stop::waits;
      break;
    case Flow::try_wait:
      ++group.pc;
      if (try_wait(inst, lanes) != lanes) return Stop::polls;
      break;
    case Flow::poll:
      if (lanes != 0) inst.execute(*this, inst, lanes);
      ++group.pc;
      return Stop::polls;
  }
  return Stop::turn;
}

Warp::Stop Warp::run(int64_t instructions) {
  constexpr int64_t kAsking = 64;  // instructions of a loop that asks again
  const int64_t begin = instructions;
  in_cluster_wait_ = false;
  while (instructions > 0) {
    const size_t at = select();
    bool changed = false;
    const bool alone = groups_.size() == 1;
    while (!changed && instructions-- > 0) {
      Group& group = groups_[at];
      const Inst& inst = code_.insts[group.pc];
      if (alone && inst.flow == Flow::plain && inst.guard < 0) {
        inst.execute(*this, inst, group.lanes);
        ++group.pc;
        continue;
      }
      const Stop stop = step(group, &changed);
      if (stop == Stop::polls) return begin - instructions > kAsking ? Stop::turn : stop;
      if (stop != Stop::turn) return stop;
      if (!alone) break;
    }
  }
  return Stop::turn;
}

namespace {

std::unique_ptr<Cluster> make_cluster(const Launch& launch, uint64_t index) {
  auto cluster = std::make_unique<Cluster>();
  const Dim &grid = launch.grid, &size = launch.cluster;
  const uint64_t along_x = grid.x / size.x, along_y = grid.y / size.y;
  const uint64_t cx = index % along_x, cy = index / along_x % along_y, cz = index / along_x / along_y;
  const Code& code = *launch.code;
  for (uint32_t rank = 0; rank < size.count(); ++rank) {
    auto block = std::make_unique<Block>();
    block->cluster = cluster.get();
    block->launch = &launch;
    block->rank = rank;
    block->index = {static_cast<uint32_t>(cx * size.x + rank % size.x),
                    static_cast<uint32_t>(cy * size.y + rank / size.x % size.y),
                    static_cast<uint32_t>(cz * size.z + rank / size.x / size.y)};
    block->shared.assign(code.dynamic_base() + launch.dynamic_shared, std::byte{0xFF});
    block->live_threads = static_cast<uint32_t>(launch.block.count());
    block->live_warps = (block->live_threads + kLanes - 1) / kLanes;
    cluster->blocks.push_back(std::move(block));
  }
  for (const auto& block : cluster->blocks)
    for (uint32_t warp = 0; warp * kLanes < launch.block.count(); ++warp)
      block->warps.push_back(std::make_unique<Warp>(*block, code, warp));
  return cluster;
}

struct Pass {
  bool ended = true, went_on = false;
};

// How the warps of a launch take turns.
struct Turns {
  bool backwards;
  int64_t instructions;  // of a warp before the next one
  explicit Turns(int launch) : backwards(launch % 2 == 1), instructions(launch % 4 < 2 ? 50000 : 101) {}
};

Pass run_cluster(Cluster& cluster, const Turns& turns) {
  Pass pass;
  for (const auto& block : cluster.blocks) {
    for (size_t i = 0; i < block->warps.size(); ++i) {
      Warp* const warp = block->warps[turns.backwards ? block->warps.size() - 1 - i : i].get();
      if (warp->ended()) continue;
      if (!warp->waits()) {
        const Warp::Stop stop = warp->run(turns.instructions);
        if (stop != Warp::Stop::polls) pass.went_on = true;
      }
      if (!warp->ended()) pass.ended = false;
    }
  }
  return pass;
}

}  // namespace

void run_launch(const Launch& launch) {
  const uint64_t count = launch.grid.count() / launch.cluster.count();
  std::deque<std::unique_ptr<Cluster>> active;
  uint64_t next = 0;
  int idle = 0;
  const Turns turns(launch.code->launches++);
  while (next < count || !active.empty()) {
    if (active.empty()) active.push_back(make_cluster(launch, next++));
    bool went_on = false;
    for (size_t i = 0; i < active.size();) {
      const Pass pass = run_cluster(*active[i], turns);
      went_on = went_on || pass.went_on || pass.ended;
      if (pass.ended) {
        active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      ++i;
    }
    if (went_on) {
      idle = 0;
    } else if (next < count && active.size() < kMostClusters) {
      active.push_back(make_cluster(launch, next++));  // perhaps they wait for it
    } else if (++idle > kPassesUntilStuck) {
      throw Fault{Fault::Kind::stuck, launch.code->name + ": every warp waits"};
    }
  }
}

}  // namespace r1::emulator
