// tests/emulator/machine.h: a multiprocessor that runs PTX on the CPU, to the letter of the programming model and with its
// worst timing: what a kernel may not rely on does not happen.
//
// A warp executes one instruction for all its threads at once; those that have branched elsewhere wait, and join when they
// come to the same instruction. Blocks run one after another; those that wait for one another (clusters, chains) in turns.
//
// The order of the warps of a block and the length of their turns change from launch to launch of a kernel, so that what one
// warp writes and another reads without a barrier between them is wrong in one of them.
//
// Asynchronous copies fill their destination with a pattern when they begin and write it when somebody has waited for them,
// so that a read too early and a write too late are both seen. Products on tensor cores add in the order of k, in f32.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/emulator/memory.h"

namespace r1::emulator {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

// Windows of generic addresses; everything else is an address of the host's.
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 56, kLocalWindow = uint64_t{2} << 56;
// An address of shared memory: the block's rank in its cluster + 1, or 0 for the thread's own block, and the offset.
inline constexpr int kRankShift = 24;
inline constexpr uint32_t kSharedBase = 1024;  // the first kilobyte is the system's

class Warp;
struct Inst;
using Execute = void (*)(Warp&, const Inst&, uint32_t lanes);

enum class Flow : uint8_t {
  plain,
  converged,  // waits for all threads of the warp that take part
  branch,
  exit,
  barrier,         // bar.sync
  cluster_arrive,  // barrier.cluster.arrive
  cluster_wait,    // barrier.cluster.wait
  try_wait,        // of a barrier in shared memory
  poll,            // a load that others' stores may change
};

struct Inst {
  Execute execute = nullptr;
  Flow flow = Flow::plain;
  bool guard_not = false, wide_address = false, all_lanes = false;
  bool adds = false;            // to what its outputs hold
  int32_t guard = -1;           // a slot
  std::vector<int32_t> o = {};  // slots (>= 0) and constants (< 0, ~place)
  int64_t offset = 0;           // of an address; the kind of an operation with several
  uint32_t target = 0;          // of a branch
  int32_t members = 0;          // converged: the operand with the mask of those that take part
  int line = 0;                 // of the module
  mutable uint64_t known = 0, known_bytes = 0;  // the allocation that the last access was in,
  mutable uint32_t known_since = 0;             // if nothing was removed since
};

// A register whose value is set before a warp begins.
struct Special {
  enum class Kind { parameters, tid, ntid, ctaid, nctaid, lane, rank };
  Kind kind;
  int axis;        // 0 to 2: x, y, z
  int64_t offset;  // of an address among the parameters
  int32_t slot;
};

// A kernel, ready to run.
struct Code {
  std::string name;
  std::vector<Inst> insts;
  std::vector<std::byte> constants;
  std::vector<Special> specials;
  size_t frame_bytes = 0, local_bytes = 0, parameter_bytes = 0;
  std::vector<size_t> parameters, parameter_sizes;  // their offsets
  uint32_t static_shared = 0, dynamic_align = 16;   // bytes behind kSharedBase
  int64_t max_threads = 0;
  const std::string* text = nullptr;  // of the module
  mutable int launches = 0;           // so far
  uint32_t dynamic_base() const {
    return (kSharedBase + static_shared + dynamic_align - 1) / dynamic_align * dynamic_align;
  }
};

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
  uint32_t along(int axis) const { return axis == 0 ? x : axis == 1 ? y : z; }
};

struct Launch {
  const Code* code = nullptr;
  Dim grid, block, cluster;
  uint32_t dynamic_shared = 0;
  std::vector<std::byte> parameters;
};

// What a kernel did that a GPU would stop for, with the line of PTX.
struct Fault {
  enum class Kind { address, alignment, trap, stuck, divergence };
  Kind kind;
  std::string what;
};

struct Block;

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  uint64_t phase = 0;
  uint32_t arrived = 0;
  uint32_t live_threads() const;
  void check_arrived();
};

struct TensorLoad {
  uint32_t barrier, bytes;  // of the block
  std::function<void()> write;
};

struct Block {
  Cluster* cluster = nullptr;
  const Launch* launch = nullptr;
  Dim index;
  uint32_t rank = 0, live_warps = 0, live_threads = 0;
  std::vector<std::byte> shared;
  std::vector<std::unique_ptr<Warp>> warps;
  std::array<uint32_t, 16> waiting_warps{};
  std::array<uint32_t, 16> expected_warps{};  // 0: all of the block
  std::vector<TensorLoad> loads;              // that nobody has seen yet

  void arrive(int name, uint32_t warps);
  void check_barrier(int name);
  void warp_ends(uint32_t threads);
  // The counters of a barrier in shared memory.
  void arrive_at(uint32_t barrier, uint32_t threads, int64_t expect_bytes);
  void complete_bytes(uint32_t barrier, uint32_t bytes);
  bool phase_is_over(uint32_t barrier, uint32_t parity);
  std::byte* memory(uint32_t address, size_t bytes, const Warp& by, const Inst& inst);
};

class Warp {
 public:
  enum class Stop { ended, waits, polls, turn };

  Warp(Block& block, const Code& code, uint32_t index);

  // Runs until the warp ends, waits or has had its turn. A turn in which it did no more than ask again ends with `polls`.
  Stop run(int64_t instructions);
  bool ended() const { return live_ == 0; }
  bool waits() const;
  uint32_t live() const { return live_; }
  Block& block() const { return block_; }
  const Code& code() const { return code_; }
  uint32_t first_thread() const { return first_thread_; }
  void release_barrier() { barrier_ = -1; }
  int barrier() const { return barrier_; }

  template <class T>
  T* to(int32_t slot) {
    return reinterpret_cast<T*>(frame_.get() + slot);
  }
  template <class T>
  const T* from(int32_t operand) const {
    return reinterpret_cast<const T*>(operand >= 0 ? frame_.get() + operand : constants_ + ~operand);
  }
  uint32_t predicate(int32_t operand) const { return *from<uint32_t>(operand); }
  void set_predicate(int32_t slot, uint32_t value, uint32_t lanes) {
    uint32_t* const at = to<uint32_t>(slot);
    *at = (*at & ~lanes) | (value & lanes);
  }

  uint64_t address(const Inst& inst, int32_t operand, int lane) const {
    return (inst.wide_address ? from<uint64_t>(operand)[lane] : from<uint32_t>(operand)[lane]) +
           static_cast<uint64_t>(inst.offset);
  }
  // Memory of the host behind an address of each space; it throws a Fault if the access is outside.
  std::byte* global(const Inst& inst, uint64_t address, size_t bytes) const {
    const uint64_t at = address - inst.known;
    if (at < inst.known_bytes && at + bytes <= inst.known_bytes && address % bytes == 0 &&
        inst.known_since == range_removals.load(std::memory_order_relaxed))
      return reinterpret_cast<std::byte*>(address);
    return find_global(inst, address, bytes);
  }
  std::byte* shared(const Inst& inst, uint64_t address, size_t bytes) const {
    if (address >= kSharedBase && address + bytes <= block_.shared.size() && address % bytes == 0)
      return block_.shared.data() + address;
    return find_shared(inst, address, bytes);
  }
  std::byte* local(const Inst& inst, uint64_t address, size_t bytes, int lane);
  std::byte* generic(const Inst& inst, uint64_t address, size_t bytes, int lane);
  const std::byte* parameters() const { return block_.launch->parameters.data(); }

  [[noreturn]] void fault(const Inst& inst, Fault::Kind kind, const std::string& why) const;

  // cp.async: groups that were committed, the oldest first, and the copies since.
  struct Copy {
    std::byte* to;
    const std::byte* from;
    uint32_t bytes, read;  // the rest is zeros
  };
  std::deque<std::vector<Copy>> copy_groups;
  std::vector<Copy> copies;
  void finish_copies(size_t pending_groups);
  // Stores of boxes, likewise.
  std::deque<std::vector<std::function<void()>>> store_groups;
  std::vector<std::function<void()>> stores;
  void finish_stores(size_t pending_groups);

 private:
  std::byte* find_global(const Inst& inst, uint64_t address, size_t bytes) const;
  std::byte* find_shared(const Inst& inst, uint64_t address, size_t bytes) const;
  struct Group {
    uint32_t pc, lanes;
    bool held = false;  // until the others come
  };
  size_t select();
  void end_lanes(uint32_t lanes);
  void set_special(const Special& special);
  Stop step(Group& group, bool* changed);  // sets *changed if there are other groups now, or one waits
  bool all_here(Group& group, uint32_t wanted, bool* changed) const;
  void branch(Group& group, uint32_t target, uint32_t lanes, bool* changed);
  void end_part(Group& group, uint32_t lanes, bool* changed);
  uint32_t try_wait(const Inst& inst, uint32_t lanes);

  Block& block_;
  const Code& code_;
  std::unique_ptr<std::byte[]> frame_;
  const std::byte* constants_;
  std::vector<std::byte> local_;
  std::vector<Group> groups_;
  uint32_t first_thread_, live_ = 0;
  int barrier_ = -1;
  bool in_cluster_wait_ = false;
  uint64_t cluster_phase_ = 0;
};

// Runs a whole launch. Throws a Fault.
void run_launch(const Launch& launch);

}  // namespace r1::emulator
