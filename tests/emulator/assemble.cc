// tests/emulator/assemble.cc: gives registers their places, constants theirs, and every instruction its function.
//
// Device functions are written into their callers; they call nothing of their own and do not recur.
#include "tests/emulator/assemble.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/error.h"
#include "tests/emulator/ops.h"
#include "tests/emulator/registers.h"

namespace r1::emulator {
namespace {

std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> out{""};
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '.')
      out.emplace_back();
    else
      out.back() += name[i];
  }
  return out;
}

bool starts(const std::string& text, const char* with) {
  return text.starts_with(with);
}

struct Register {
  int32_t slot = -1;
  int width = 0;  // bits
};

int letter_bits(char letter) {
  switch (letter) {
    case 'p':
      return 1;
    case 'h':
      return 16;
    case 'w':
      return 32;
    default:
      return 64;
  }
}

class Assembler {
 public:
  Assembler(const ModuleText& module, const std::string& kernel)
      : module_(module), code_(std::make_unique<Code>()) {
    const auto found = module.functions.find(kernel);
    if (found == module.functions.end()) throw Error("the module has no kernel " + kernel);
    code_->name = kernel;
    code_->text = &module.text;
    FunctionText function = found->second;
    code_->max_threads = function.max_threads;
    const std::vector<Statement> body = read_body(function);
    place_parameters(function);
    place_shared(module.shared);
    place_shared(function.shared);
    place_local(function);
    // A jump behind the end ends the thread.
    emit(body, "");
    code_->insts.push_back({.flow = Flow::exit});
    for (const auto& [inst, label, line] : jumps_) {
      const auto to = labels_.find(label);
      if (to == labels_.end()) fail(line, "no label " + label);
      code_->insts[inst].target = to->second;
    }
    for (const auto& [symbol, at] : dynamic_)
      write_constant(at, code_->dynamic_base(), symbol.ends_with("/32") ? 4 : 8);
    code_->frame_bytes = frame_;
    code_->local_bytes = local_;
    code_->constants.insert(code_->constants.end(), constants_.begin(), constants_.end());
    outputs_.resize(code_->insts.size(), 0);
    share_places(*code_, outputs_);
  }
  std::unique_ptr<Code> take() { return std::move(code_); }

 private:
  [[noreturn]] void fail(int line, const std::string& why) const {
    throw Error("PTX of " + code_->name + ", line " + std::to_string(line) + ": " + why);
  }

  void place_parameters(const FunctionText& f) {
    for (const Variable& v : f.parameters) {
      const auto align = static_cast<size_t>(v.align);
      code_->parameter_bytes = (code_->parameter_bytes + align - 1) / align * align;
      parameters_[v.name] = static_cast<int64_t>(code_->parameter_bytes);
      code_->parameters.push_back(code_->parameter_bytes);
      code_->parameter_sizes.push_back(static_cast<size_t>(v.bytes));
      code_->parameter_bytes += static_cast<size_t>(v.bytes);
    }
  }
  void place_shared(const std::vector<Variable>& variables) {
    for (const Variable& v : variables) {
      const auto align = static_cast<uint32_t>(v.align);
      if (v.dynamic) {
        code_->dynamic_align = std::max(code_->dynamic_align, align);
        dynamic_[v.name] = -1;
        continue;
      }
      const uint32_t at = (kSharedBase + code_->static_shared + align - 1) / align * align;
      symbols_[v.name] = at;
      code_->static_shared = at - kSharedBase + static_cast<uint32_t>(v.bytes);
    }
  }
  void place_local(const FunctionText& f) {
    // Each call declares its parameters anew, by the same names.
    std::map<std::string, Variable> by_name;
    for (const Variable& v : f.local) {
      Variable& kept = by_name.try_emplace(v.name, v).first->second;
      kept.bytes = std::max(kept.bytes, v.bytes);
      kept.align = std::max(kept.align, v.align);
    }
    for (const auto& [name, v] : by_name) {
      const auto align = static_cast<size_t>(std::max<int64_t>(v.align, 8));
      local_ = (local_ + align - 1) / align * align;
      symbols_[prefix_ + name] = local_;
      local_ += static_cast<size_t>(v.bytes);
    }
    local_ = (local_ + 15) / 16 * 16;
  }

  int32_t new_slot(int width) {
    const auto slot = static_cast<int32_t>(frame_);
    frame_ += width == 1 ? 64 : static_cast<size_t>(std::max(width, 16)) / 8 * kLanes;
    return slot;
  }
  int32_t constant(uint64_t bits, int width) {
    const auto [at, added] =
        constant_places_.try_emplace({bits, width}, static_cast<int32_t>(constants_.size()));
    if (added) {
      const size_t bytes = width == 1 ? 4 : static_cast<size_t>(width) / 8;
      constants_.resize(constants_.size() + std::max<size_t>(bytes * kLanes, 64));
      if (width == 1) bits = bits & 1 ? kAllLanes : 0;
      write_constant(at->second, bits, bytes);
    }
    return ~at->second;
  }
  void write_constant(int32_t at, uint64_t bits, size_t bytes) {
    if (at < 0) return;
    for (size_t lane = 0; lane < kLanes; ++lane)
      std::memcpy(&constants_[static_cast<size_t>(at) + lane * bytes], &bits, bytes);
  }
  // The address of dynamic shared memory, which is known at the end.
  int32_t dynamic_constant(const std::string& name) {
    int32_t& at = dynamic_.try_emplace(name, -1).first->second;
    if (at < 0) {
      at = static_cast<int32_t>(constants_.size());
      constants_.resize(constants_.size() + 8 * kLanes);
    }
    return at;
  }

  // The innermost scope that declares it, or a member of a family %r<n>.
  Register* find_register(const std::string& name) {
    for (size_t scope = scopes_.size(); scope-- > 0;) {
      auto& [single, families] = scopes_[scope];
      const auto found = single.find(name);
      if (found != single.end()) {
        if (found->second.slot < 0) found->second.slot = new_slot(found->second.width);
        return &found->second;
      }
      const size_t digits = name.find_last_not_of("0123456789") + 1;
      if (digits == name.size()) continue;
      const auto family = families.find(name.substr(0, digits));
      if (family == families.end()) continue;
      Register made{.slot = new_slot(family->second), .width = family->second};
      return &(single[name] = made);
    }
    return nullptr;
  }
  int width_of(const Operand& o) {
    const Register* const r = o.kind == Operand::Kind::name ? find_register(o.name) : nullptr;
    return r != nullptr ? r->width : 0;
  }

  int32_t special(const Statement& s, const std::string& name, int width, int64_t offset) {
    const std::string base = name.substr(0, name.find('.'));
    using Kind = Special::Kind;
    static const std::map<std::string, Kind> kinds{
        {"parameters", Kind::parameters}, {"%tid", Kind::tid},       {"%ntid", Kind::ntid},
        {"%ctaid", Kind::ctaid},          {"%nctaid", Kind::nctaid}, {"%laneid", Kind::lane},
        {"%cluster_ctarank", Kind::rank}};
    const auto kind = kinds.find(base);
    if (kind == kinds.end()) fail(s.line, name + " is not known");
    const int axis = name.back() == 'y' ? 1 : name.back() == 'z' ? 2 : 0;
    for (const Special& made : code_->specials)
      if (made.kind == kind->second && made.axis == axis && made.offset == offset) return made.slot;
    code_->specials.push_back({kind->second, axis, offset, new_slot(width)});
    return code_->specials.back().slot;
  }

  // The slot or constant of an operand whose lanes are `width` bits wide.
  int32_t value(const Statement& s, const Operand& o, int width) {
    switch (o.kind) {
      case Operand::Kind::sink:
        return -1;
      case Operand::Kind::number:
        return constant(o.bits, width);
      case Operand::Kind::name:
        break;
      default:
        fail(s.line, "an operand of " + s.name + " is not known");
    }
    if (const Register* const r = find_register(o.name); r != nullptr) {
      if (r->width != width) fail(s.line, s.name + " wants " + std::to_string(width) + " bits of " + o.name);
      return r->slot;
    }
    if (o.name[0] == '%') return special(s, o.name, 32, 0);
    return symbol(s, o.name, o.offset, width);
  }
  int32_t symbol(const Statement& s, const std::string& name, int64_t offset, int width) {
    const auto dynamic = dynamic_.find(name);
    if (dynamic != dynamic_.end()) {
      if (offset != 0) fail(s.line, "an offset to dynamic memory is not known");
      if (width == 64) return ~dynamic_constant(name);
      const std::string narrow = name + "/32";
      const int32_t at = dynamic_constant(narrow);
      return ~at;
    }
    if (const auto at = symbols_.find(prefix_ + name); at != symbols_.end())
      return constant(at->second + static_cast<uint64_t>(offset), width);
    if (const auto at = symbols_.find(name); at != symbols_.end())
      return constant(at->second + static_cast<uint64_t>(offset), width);
    if (const auto at = parameters_.find(name); at != parameters_.end())
      return special(s, "parameters", 64, at->second + offset);
    fail(s.line, "no such name: " + name);
  }

  // The base of an address; its offset and width go into the instruction.
  int32_t address(const Statement& s, const Operand& o, Inst& inst) {
    if (o.kind != Operand::Kind::address) fail(s.line, "expected an address");
    if (inst.offset != 0 && o.offset != 0) fail(s.line, "two addresses with offsets are not known");
    if (o.offset != 0) inst.offset = o.offset;
    if (o.name.empty()) {
      inst.wide_address = true;
      return constant(0, 64);
    }
    if (const Register* const r = find_register(o.name); r != nullptr) {
      inst.wide_address = r->width == 64;
      return r->slot;
    }
    inst.wide_address = true;
    return symbol(s, o.name, 0, 64);
  }

  void guard(const Statement& s, Inst& inst) {
    inst.line = s.line;
    if (s.guard.empty()) return;
    const Register* const r = find_register(s.guard);
    if (r == nullptr || r->width != 1) fail(s.line, "no predicate " + s.guard);
    inst.guard = r->slot;
    inst.guard_not = s.guard_not;
  }

  void emit(const std::vector<Statement>& body, const std::string& end_label) {
    scopes_.emplace_back();
    for (const Statement& s : body) {
      switch (s.kind) {
        case Statement::Kind::open:
          scopes_.emplace_back();
          break;
        case Statement::Kind::close:
          scopes_.pop_back();
          break;
        case Statement::Kind::label:
          labels_[prefix_ + s.name] = static_cast<uint32_t>(code_->insts.size());
          break;
        case Statement::Kind::registers:
          if (s.count < 0)
            scopes_.back().first[s.name] = {.width = s.width};
          else
            scopes_.back().second[s.name] = s.width;
          break;
        case Statement::Kind::instruction:
          emit(s, end_label);
          break;
      }
    }
    scopes_.pop_back();
  }

  void emit(const Statement& s, const std::string& end_label) {
    const std::vector<std::string> parts = split(s.name);
    if (parts[0] == "bra") return jump(s, prefix_ + s.operands.at(0).name);
    if (parts[0] == "call") return call(s);
    if (parts[0] == "ret" && !end_label.empty()) return jump(s, end_label);
    Inst inst;
    guard(s, inst);
    if (parts[0] == "ld") {
      emit_load(s, parts, inst);
    } else if (parts[0] == "st") {
      emit_store(s, parts, inst);
    } else if (parts[0] == "mov" && parts[1] != "pred") {
      emit_move(s, inst);
    } else if (parts[0] == "cvt" && find_rule(s.name) == nullptr) {
      emit_conversion(s, parts, inst);
    } else if (parts[0] == "cvta") {
      emit_address(s, parts, inst);
    } else if (parts[0] == "setp") {
      inst.execute = find_comparison(parts.at(1), parts.at(2));
      if (inst.execute == nullptr || parts.size() != 3) fail(s.line, s.name + " is not known");
      const int bits = std::stoi(parts[2].substr(1));
      inst.o = {value(s, s.operands.at(0), 1), value(s, s.operands.at(1), bits),
                value(s, s.operands.at(2), bits)};
    } else {
      emit_rule(s, inst);
    }
    outputs_.resize(code_->insts.size(), 0);
    outputs_.push_back(outputs_of(s, parts, inst));
    code_->insts.push_back(std::move(inst));
  }

  // How many operands an instruction sets, the first ones.
  static int outputs_of(const Statement& s, const std::vector<std::string>& parts, const Inst& inst) {
    const std::string& name = parts[0];
    if (name == "ld" || name == "mov") return static_cast<int>(values_of(s.operands.at(0)).size());
    if (name == "mma") return 4;
    if (name == "wgmma" && parts.at(1) == "mma_async") return static_cast<int>(inst.offset / 8);
    if (name == "ldmatrix") return static_cast<int>(inst.o.size()) - 1;
    if (name == "shfl") return 2;
    for (const char* other :
         {"st", "cp", "bar", "barrier", "fence", "setmaxnreg", "prefetch", "stmatrix", "wgmma", "membar"})
      if (name == other) return 0;
    if (name == "mbarrier") return parts.at(1) == "try_wait" ? 1 : 0;
    return inst.o.empty() ? 0 : 1;
  }

  void jump(const Statement& s, const std::string& label) {
    Inst inst{.flow = Flow::branch};
    guard(s, inst);
    jumps_.push_back({code_->insts.size(), label, s.line});
    code_->insts.push_back(inst);
  }

  // call.uni function, (parameters): they are variables of the caller's, with the callee's names inside.
  void call(const Statement& s) {
    const std::string& name = s.operands.at(0).name;
    const auto found = module_.functions.find(name);
    if (found == module_.functions.end() || !s.guard.empty())
      fail(s.line, "a call of " + name + " is not known");
    FunctionText function = found->second;
    const std::vector<Statement> body = read_body(function);
    const std::string outer = prefix_;
    const std::string inner = outer + name + "#" + std::to_string(++calls_) + "/";
    for (size_t i = 0; i < function.parameters.size(); ++i) {
      const std::string& given = s.operands.at(1).parts.at(i).name;
      symbols_[inner + function.parameters[i].name] = symbols_.at(outer + given);
    }
    place_shared(function.shared);
    prefix_ = inner;
    place_local(function);
    std::vector<Scope> callers;
    std::swap(callers, scopes_);
    emit(body, inner + "end");
    std::swap(callers, scopes_);
    labels_[inner + "end"] = static_cast<uint32_t>(code_->insts.size());
    prefix_ = outer;
  }

  // The values of an operand that may be a list.
  static std::vector<Operand> values_of(const Operand& o) {
    return o.kind == Operand::Kind::list ? o.parts : std::vector<Operand>{o};
  }
  struct Access {
    Space space = Space::generic;
    bool parameter = false, sign = false, poll = false;
    int bytes = 0;
    size_t count = 1;
  };
  Access access_of(const Statement& s, const std::vector<std::string>& parts) {
    Access out;
    for (size_t i = 1; i < parts.size(); ++i) {
      const std::string& p = parts[i];
      if (p == "global")
        out.space = Space::global;
      else if (starts(p, "shared"))
        out.space = Space::shared;
      else if (p == "local")
        out.space = Space::local;
      else if (p == "param")
        out.parameter = true;
      else if (p == "v2")
        out.count = 2;
      else if (p == "v4")
        out.count = 4;
      else if (p == "acquire" || p == "release")
        out.poll = true;
      else if (p == "cg" || p == "cs" || p == "nc" || p == "gpu" || p == "volatile" || p == "L1::no_allocate")
        continue;
      else if (i + 1 == parts.size()) {
        out.sign = p[0] == 's';
        out.bytes = std::stoi(p.substr(1)) / 8;
      } else
        fail(s.line, s.name + " is not known");
    }
    return out;
  }
  int lane_bytes(const Statement& s, const std::vector<Operand>& values, int bytes) {
    int lane = std::max(bytes, 2);
    for (const Operand& v : values)
      if (const int width = width_of(v); width > 0) lane = width / 8;
    if (lane < bytes) fail(s.line, "a register is too narrow");
    return lane;
  }

  void emit_load(const Statement& s, const std::vector<std::string>& parts, Inst& inst) {
    const Access access = access_of(s, parts);
    const std::vector<Operand> values = values_of(s.operands.at(0));
    if (values.size() != access.count) fail(s.line, "the number of registers is not that of " + s.name);
    const int lane = lane_bytes(s, values, access.bytes);
    const auto count = static_cast<int>(access.count);
    for (const Operand& v : values) inst.o.push_back(value(s, v, lane * 8));
    const Operand& from = s.operands.at(1);
    const auto parameter = parameters_.find(from.name);
    if (access.parameter && prefix_.empty() && parameter != parameters_.end()) {
      inst.offset = parameter->second + from.offset;
      inst.execute = find_parameter_load(access.bytes, lane, access.sign, count);
    } else {
      inst.o.push_back(address(s, from, inst));
      // A register holds the address of a kernel's parameter; a name here is a variable of a call's.
      const Space parameters = find_register(from.name) != nullptr ? Space::global : Space::local;
      inst.execute =
          find_load(access.parameter ? parameters : access.space, access.bytes, lane, access.sign, count);
      if (access.poll) inst.flow = Flow::poll;
    }
    if (inst.execute == nullptr) fail(s.line, s.name + " is not known");
  }
  void emit_store(const Statement& s, const std::vector<std::string>& parts, Inst& inst) {
    const Access access = access_of(s, parts);
    const std::vector<Operand> values = values_of(s.operands.at(1));
    if (values.size() != access.count) fail(s.line, "the number of registers is not that of " + s.name);
    const int lane = lane_bytes(s, values, access.bytes);
    inst.o.push_back(address(s, s.operands[0], inst));
    for (const Operand& v : values) inst.o.push_back(value(s, v, lane * 8));
    inst.execute = find_store(access.parameter ? Space::local : access.space, access.bytes, lane,
                              static_cast<int>(access.count));
    if (inst.execute == nullptr) fail(s.line, s.name + " is not known");
  }

  void emit_move(const Statement& s, Inst& inst) {
    const Operand &to = s.operands.at(0), &from = s.operands.at(1);
    const int bits = std::stoi(split(s.name).back().substr(1));
    if (to.kind == Operand::Kind::list) {
      const auto parts = static_cast<int>(to.parts.size());
      for (const Operand& part : to.parts) inst.o.push_back(value(s, part, bits / parts));
      inst.o.push_back(value(s, from, bits));
      inst.execute = find_unpack(bits / 8, parts);
    } else if (from.kind == Operand::Kind::list) {
      const auto parts = static_cast<int>(from.parts.size());
      inst.o.push_back(value(s, to, bits));
      for (const Operand& part : from.parts) inst.o.push_back(value(s, part, bits / parts));
      inst.execute = find_pack(bits / 8, parts);
    } else {
      inst.o = {value(s, to, bits), value(s, from, bits)};
      inst.execute = find_move(bits / 8);
    }
    if (inst.execute == nullptr) fail(s.line, s.name + " is not known");
  }

  void emit_conversion(const Statement& s, const std::vector<std::string>& parts, Inst& inst) {
    const size_t n = parts.size();
    if (n < 3 || n > 4) fail(s.line, s.name + " is not known");
    const int to = width_of(s.operands.at(0));
    int from = width_of(s.operands.at(1));
    if (from == 0) from = std::max(16, std::stoi(parts[n - 1].substr(1)));
    inst.execute =
        find_conversion(n == 4 ? "." + parts[1] : "", parts[n - 2], parts[n - 1], to / 8, from / 8);
    if (inst.execute == nullptr) fail(s.line, s.name + " is not known");
    inst.o = {value(s, s.operands[0], to), value(s, s.operands[1], from)};
  }

  // cvta.SPACE: to a generic address; cvta.to.SPACE: from one.
  void emit_address(const Statement& s, const std::vector<std::string>& parts, Inst& inst) {
    const bool from_generic = parts.at(1) == "to";
    const std::string& space = parts.at(from_generic ? 2 : 1);
    uint64_t window = 0;
    if (space == "shared") window = kSharedWindow;
    if (space == "local") window = kLocalWindow;
    if (window == 0) {
      inst.execute = find_move(8);
      inst.o = {value(s, s.operands.at(0), 64), value(s, s.operands.at(1), 64)};
      return;
    }
    const Rule* const rule = find_rule(from_generic ? "sub.s64" : "add.s64");
    inst.execute = rule->execute;
    inst.o = {value(s, s.operands.at(0), 64), value(s, s.operands.at(1), 64), constant(window, 64)};
  }

  // The operands of a statement in one row: those of lists and addresses among them.
  static void flatten(const Operand& o, std::vector<Operand>& out) {
    if (o.kind == Operand::Kind::list) {
      for (const Operand& part : o.parts) flatten(part, out);
      return;
    }
    out.push_back(o);
    if (o.kind == Operand::Kind::address)
      for (const Operand& part : o.parts) flatten(part, out);
  }
  void emit_rule(const Statement& s, Inst& inst) {
    std::string name = s.name;
    std::vector<Operand> operands;
    for (const Operand& o : s.operands) flatten(o, operands);
    if (starts(name, "wgmma.mma_async")) {
      const bool registers = s.operands.at(1).kind == Operand::Kind::list;
      inst.adds = true;
      inst.offset = static_cast<int64_t>(s.operands[0].parts.size()) * 2 * 4 + (registers ? 2 : 0);
      name += registers ? "/registers" : "/descriptor";
    }
    if (starts(name, "shfl")) {
      Operand second{.kind = Operand::Kind::sink};
      if (!operands[0].second.empty()) second = {.name = operands[0].second};
      operands.insert(operands.begin() + 1, second);
    }
    const Rule* rule = find_rule(name);
    if (rule == nullptr) rule = find_tensor_rule(name);
    if (rule == nullptr) fail(s.line, name + " is not known");
    if (operands.size() > rule->operands.size() + (name == "ret" ? 1 : 0))
      fail(s.line, name + " has too many operands");
    for (size_t i = 0; i < operands.size(); ++i) {
      const char letter = rule->operands[i];
      if (operands[i].kind == Operand::Kind::address)
        inst.o.push_back(address(s, operands[i], inst));
      else
        inst.o.push_back(value(s, operands[i], letter_bits(letter)));
    }
    inst.execute = rule->execute;
    inst.flow = rule->flow;
    if (rule->flow == Flow::converged) {
      const bool by_members =
          starts(name, "shfl") || starts(name, "vote") || starts(name, "redux") || starts(name, "bar.warp");
      inst.all_lanes = !by_members;
      if (by_members) inst.members = inst.o.back();
    }
  }

  using Scope = std::pair<std::map<std::string, Register>, std::map<std::string, int>>;
  struct Jump {
    size_t inst;
    std::string label;
    int line;
  };
  const ModuleText& module_;
  std::unique_ptr<Code> code_;
  std::vector<Scope> scopes_;
  std::string prefix_;  // of the names of a function written into its caller
  std::map<std::string, int64_t> parameters_;
  std::map<std::string, uint64_t> symbols_;
  std::map<std::string, int32_t> dynamic_;
  std::map<std::string, uint32_t> labels_;
  std::vector<Jump> jumps_;
  std::vector<int> outputs_;  // of each instruction
  std::map<std::pair<uint64_t, int>, int32_t> constant_places_;
  std::vector<std::byte> constants_;
  size_t frame_ = 0, local_ = 0;
  int calls_ = 0;
};

}  // namespace

std::unique_ptr<Code> assemble(const ModuleText& module, const std::string& kernel) {
  return Assembler(module, kernel).take();
}

}  // namespace r1::emulator
