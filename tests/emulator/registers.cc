// tests/emulator/registers.cc: liveness by the flow of control, then places in the order of the first need.
#include "tests/emulator/registers.h"

#include <algorithm>
#include <map>

namespace r1::emulator {
namespace {

using Bits = std::vector<uint64_t>;

bool get(const Bits& bits, size_t i) {
  return bits[i / 64] >> (i % 64) & 1;
}
void set(Bits& bits, size_t i) {
  bits[i / 64] |= uint64_t{1} << (i % 64);
}

class Places {
 public:
  Places(Code& code, const std::vector<int>& outputs) : code_(code), outputs_(outputs) {
    number_registers();
    cut_blocks();
    find_live();
    find_spans();
    assign();
  }

 private:
  struct Span {
    size_t first = SIZE_MAX, last = 0;
    void take(size_t at) {
      first = std::min(first, at);
      last = std::max(last, at);
    }
  };
  struct Piece {  // a basic block
    size_t begin, end;
    std::vector<size_t> next;
    Bits reads, sets, live;  // read before set; set by all lanes; live at the beginning
  };

  // Every slot is the beginning of a register; they were handed out in order.
  void number_registers() {
    std::map<int32_t, size_t> all;
    const auto add = [&](int32_t slot) {
      if (slot >= 0) all[slot] = 0;
    };
    for (const Inst& inst : code_.insts) {
      add(inst.guard);
      for (const int32_t o : inst.o) add(o);
    }
    for (const Special& s : code_.specials) add(s.slot);
    for (auto& [slot, index] : all) {
      index = slots_.size();
      slots_.push_back(slot);
    }
    index_ = std::move(all);
    slots_.push_back(static_cast<int32_t>(code_.frame_bytes));
  }

  void cut_blocks() {
    const size_t n = code_.insts.size();
    std::vector<bool> begins(n + 1, false);
    begins[0] = true;
    for (size_t i = 0; i < n; ++i) {
      const Inst& inst = code_.insts[i];
      if (inst.flow == Flow::branch) begins[inst.target] = begins[i + 1] = true;
      if (inst.flow == Flow::exit) begins[i + 1] = true;
    }
    std::vector<size_t> block_of(n + 1, 0);
    for (size_t i = 0; i < n; ++i) {
      if (begins[i]) blocks_.push_back({i, i, {}, empty(), empty(), empty()});
      block_of[i] = blocks_.size() - 1;
      blocks_.back().end = i + 1;
    }
    for (Piece& b : blocks_) {
      const Inst& inst = code_.insts[b.end - 1];
      const bool always = inst.guard < 0;
      if (inst.flow == Flow::branch) b.next.push_back(block_of[inst.target]);
      if (b.end < n && !(always && (inst.flow == Flow::branch || inst.flow == Flow::exit)))
        b.next.push_back(block_of[b.end]);
    }
  }
  Bits empty() const { return Bits(slots_.size() / 64 + 1, 0); }

  // Calls set(register) and read(register). What a guarded instruction sets keeps its value in other threads.
  template <class Set, class Read>
  void visit(size_t at, const Set& set_one, const Read& read_one) const {
    const Inst& inst = code_.insts[at];
    const auto outputs = static_cast<size_t>(outputs_[at]);
    const bool keeps = inst.guard >= 0 || inst.execute == nullptr || inst.adds;
    for (size_t k = 0; k < inst.o.size(); ++k) {
      if (inst.o[k] < 0) continue;
      const size_t r = index_.at(inst.o[k]);
      if (k >= outputs || keeps) read_one(r);
    }
    if (inst.guard >= 0) read_one(index_.at(inst.guard));
    for (size_t k = 0; k < std::min(outputs, inst.o.size()); ++k)
      if (inst.o[k] >= 0) set_one(index_.at(inst.o[k]));
  }

  void find_live() {
    for (Piece& b : blocks_)
      for (size_t i = b.begin; i < b.end; ++i)
        visit(
            i, [&](size_t r) { set(b.sets, r); },
            [&](size_t r) {
              if (!get(b.sets, r)) set(b.reads, r);
            });
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t k = blocks_.size(); k-- > 0;) {
        Piece& b = blocks_[k];
        for (size_t w = 0; w < b.live.size(); ++w) {
          uint64_t out = 0;
          for (const size_t next : b.next) out |= blocks_[next].live[w];
          const uint64_t live = b.reads[w] | (out & ~b.sets[w]);
          changed = changed || live != b.live[w];
          b.live[w] = live;
        }
      }
    }
  }

  void find_spans() {
    spans_.resize(slots_.size());
    for (const Piece& b : blocks_) {
      for (size_t i = b.begin; i < b.end; ++i) {
        const auto take = [&](size_t r) { spans_[r].take(i); };
        visit(i, take, take);
      }
      for (size_t r = 0; r + 1 < slots_.size(); ++r) {
        if (get(b.live, r)) spans_[r].take(b.begin);
        for (const size_t next : b.next)
          if (get(blocks_[next].live, r)) spans_[r].take(b.end - 1);
      }
    }
    for (const Special& s : code_.specials) {  // set before the first instruction
      spans_[index_.at(s.slot)].take(0);
    }
  }

  void assign() {
    std::vector<size_t> order;
    for (size_t r = 0; r + 1 < slots_.size(); ++r) order.push_back(r);
    std::ranges::sort(order, [&](size_t a, size_t b) { return spans_[a].first < spans_[b].first; });
    std::multimap<size_t, size_t> ends;            // the last need, and the register
    std::map<int32_t, std::vector<int32_t>> free;  // by size
    std::vector<int32_t> place(slots_.size(), 0);
    int32_t frame = 0;
    for (const size_t r : order) {
      while (!ends.empty() && ends.begin()->first < spans_[r].first) {
        const size_t over = ends.begin()->second;
        free[slots_[over + 1] - slots_[over]].push_back(place[over]);
        ends.erase(ends.begin());
      }
      const int32_t bytes = slots_[r + 1] - slots_[r];
      auto& list = free[bytes];
      if (list.empty()) {
        place[r] = frame;
        frame += bytes;
      } else {
        place[r] = list.back();
        list.pop_back();
      }
      ends.emplace(spans_[r].last, r);
    }
    const auto replace = [&](int32_t& slot) {
      if (slot >= 0) slot = place[index_.at(slot)];
    };
    for (Inst& inst : code_.insts) {
      replace(inst.guard);
      for (int32_t& o : inst.o) replace(o);
      if (inst.flow == Flow::converged && !inst.all_lanes) inst.members = inst.o.back();
    }
    for (Special& s : code_.specials) replace(s.slot);
    code_.frame_bytes = static_cast<size_t>(frame);
  }

  Code& code_;
  const std::vector<int>& outputs_;
  std::vector<int32_t> slots_;  // of each register, and the end
  std::map<int32_t, size_t> index_;
  std::vector<Piece> blocks_;
  std::vector<Span> spans_;
};

}  // namespace

void share_places(Code& code, const std::vector<int>& outputs) {
  Places(code, outputs);
}

}  // namespace r1::emulator
