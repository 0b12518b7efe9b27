// tests/emulator/modules.cc: finds the PTX of a kernel in the program.
#include "tests/emulator/modules.h"

#include <zstd.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "base/error.h"
#include "tests/emulator/assemble.h"

namespace r1::emulator {
namespace {

struct Tables {
  std::deque<Module> modules;
  std::deque<Kernel> kernels;
  std::unordered_map<const void*, Kernel*> by_function;
};
Tables& tables() {
  static auto* const all = new Tables;  // registered before main, used until the end
  return *all;
}

template <class T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// PTX as it lies in an image: compressed by Zstandard, or as text.
std::string text_of_entry(const std::byte* at, size_t bytes, size_t compressed) {
  if (compressed == 0) return std::string(reinterpret_cast<const char*>(at), bytes).c_str();
  const unsigned long long size = ZSTD_getFrameContentSize(at, compressed);
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
    throw Error("PTX in this program is not compressed by Zstandard");
  std::string text(size, '\0');
  if (ZSTD_isError(ZSTD_decompress(text.data(), text.size(), at, compressed)))
    throw Error("PTX in this program is damaged");
  return text.c_str();  // up to the zero at its end
}

// The texts of PTX in an image: a header of 16 bytes, then entries with headers of their own.
std::vector<std::string> texts_of(const std::byte* image) {
  constexpr uint32_t kMark = 0xBA55ED50;
  if (read<uint32_t>(image) != kMark) throw Error("not an image of CUDA code");
  const std::byte* at = image + read<uint16_t>(image + 6);
  const std::byte* const end = at + read<uint64_t>(image + 8);
  std::vector<std::string> out;
  while (at < end) {
    const auto kind = read<uint16_t>(at);
    const auto header = read<uint32_t>(at + 4), compressed = read<uint32_t>(at + 16);
    const auto bytes = read<uint64_t>(at + 8);
    if (kind == 1) out.push_back(text_of_entry(at + header, bytes, compressed));
    at += header + bytes;
  }
  return out;
}

// "sm_90a" -> 90
int target_of(const std::string& text) {
  const size_t at = text.find(".target sm_");
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + 11);
}

const ModuleText& text_of(Module& module) {
  if (module.text) return *module.text;
  std::string best;
  for (std::string& text : texts_of(static_cast<const std::byte*>(module.image))) {
    const int target = target_of(text);
    // PTX of sm_90a is for that processor alone.
    const bool special = text.find(".target sm_90a") != std::string::npos;
    if (target > capability() || (special && capability() != 90)) continue;
    if (best.empty() || target > target_of(best)) best = std::move(text);
  }
  if (best.empty()) throw Error("this program has no PTX for sm_" + std::to_string(capability()));
  module.text = std::make_unique<ModuleText>(read_module(std::move(best)));
  return *module.text;
}

}  // namespace

int capability() {
  static const int value = [] {
    const char* const set = std::getenv("R1_EMULATED_SM");
    return set != nullptr ? std::atoi(set) : 90;
  }();
  return value;
}

Module* add_module(const void* image) {
  tables().modules.push_back({.image = image});
  return &tables().modules.back();
}
void add_kernel(Module* module, const void* host, const std::string& name) {
  tables().kernels.push_back({.module = module, .name = name, .host = host});
  Kernel* const kernel = &tables().kernels.back();
  tables().by_function[host] = kernel;
  tables().by_function[kernel] = kernel;
}
Kernel* find_kernel(const void* function) {
  const auto found = tables().by_function.find(function);
  return found == tables().by_function.end() ? nullptr : found->second;
}

const Code& code_of(Kernel& kernel) {
  if (!kernel.code) kernel.code = assemble(text_of(*kernel.module), kernel.name);
  return *kernel.code;
}

}  // namespace r1::emulator
