// cli/doctor_machine.cc: the machine's properties, read from the system, and its peaks, measured in about a
// second.
#include <fmt/format.h>
#include <fmt/ranges.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <openssl/crypto.h>
#include <pcre2.h>
#include <unicode/uversion.h>

#include "base/machine.h"
#include "cli/doctor.h"
#include "ops/simd/machine_peak.h"
#include "ops/simd/targets.h"
#include "tensor/gpu.h"

namespace r1 {
namespace {

int64_t mib(int64_t bytes) {
  return bytes >> 20;
}

Json names(const std::vector<SimdTarget>& targets, bool usable_only) {
  Json list = Json::array();
  for (const SimdTarget& target : targets) {
    if (target.usable || !usable_only) list.push_back(target.name);
  }
  return list;
}

Json numerics_here() {
  Json list = Json::array();
  for (const Numerics numerics : kAllNumerics) {
    if (machine_has(numerics)) list.push_back(name_of(numerics));
  }
  return list;
}

// Returns the linked libraries with their versions, read at run time if the library can tell.
Json libraries() {
  UVersionInfo icu;
  u_getVersion(icu);
  char pcre2[64] = {};
  pcre2_config_8(PCRE2_CONFIG_VERSION, pcre2);
  Json json = Json::object();
  json.set("highway", highway_version());
  json.set("fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100));
  json.set("icu", fmt::format("{}.{}", icu[0], icu[1])).set("pcre2", pcre2);
  json.set("openssl", OpenSSL_version(OPENSSL_VERSION));
  return json;
}

// Returns the free bytes of the file system on which runs/ would be created.
int64_t free_disk() {
  std::error_code none;
  const auto space = std::filesystem::space(".", none);
  return none ? 0 : static_cast<int64_t>(space.available);
}

std::vector<std::string> warnings_of(const MemoryFacts& memory, const CgroupLimits& limits, int64_t disk) {
  std::vector<std::string> list;
  const int usable = available_threads();
  if (limits.cpus > 0 && limits.cpus < usable) {
    list.push_back(fmt::format(
        "a control group allows {:.1f} CPUs, {} threads would run: threads that wait for their turn hold up "
        "all others: use --threads {}, or raise cpu.max",
        limits.cpus, usable, std::max(1, static_cast<int>(limits.cpus))));
  }
  if (limits.memory > 0 && limits.memory < memory.total) {
    list.push_back(fmt::format(
        "a control group allows {} MiB of the machine's {}: what takes more is killed without a word: use "
        "--memory-limit, or raise memory.max",
        mib(limits.memory), mib(memory.total)));
  }
  constexpr int64_t kLittle = int64_t{1} << 30;
  if (disk < kLittle)
    list.push_back(fmt::format("only {} MiB are free on the disk here: runs/ may not fit", mib(disk)));
  return list;
}

}  // namespace

MachineReport examine_machine(ThreadPool& threads) {
  const CpuFacts cpu = cpu_facts();
  const MemoryFacts memory = memory_facts();
  const CgroupLimits limits = cgroup_limits();
  const int64_t disk = free_disk();
  const std::vector<SimdTarget> targets = simd_targets();
  constexpr int64_t kReadMost = int64_t{256} << 20;  // more than the caches hold
  const double fma = fma_peak(threads);
  const double bandwidth =
      read_bandwidth(threads, std::clamp<int64_t>(memory.available / 4, 1 << 20, kReadMost));
  Json facts = Json::object();
  facts.set("cpu", Json::object()
                       .set("model", cpu.model)
                       .set("online", cpu.online)
                       .set("usable", available_threads())
                       .set("threads", threads.size())
                       .set("features", Json::array_of(cpu.features)));
  facts.set("simd", Json::object()
                        .set("compiled", names(targets, false))
                        .set("usable", names(targets, true))
                        .set("chosen", chosen_simd_target()));
  facts.set("memory_mib",
            Json::object().set("total", mib(memory.total)).set("available", mib(memory.available)));
  facts.set("limits", Json::object()
                          .set("cpus", limits.cpus > 0 ? Json(limits.cpus) : Json())
                          .set("memory_mib", limits.memory > 0 ? Json(mib(limits.memory)) : Json()));
  facts.set("disk_free_mib", mib(disk)).set("fma_gflops", fma).set("read_gb_s", bandwidth);
  facts.set("bf16_gflops", machine_has(Numerics::cpu_avx512bf16) ? Json(bf16_peak(threads)) : Json());
  facts.set("libraries", libraries()).set("numerics", numerics_here());
  const GpuSearch& gpu = find_gpu();
  facts.set("cuda", gpu.found.has_value());
  facts.set("gpu", gpu.found ? Json::object()
                                   .set("name", gpu.found->name)
                                   .set("capability", gpu.found->capability)
                                   .set("cuda", gpu.found->cuda)
                                   .set("memory_mib", mib(gpu.found->bytes))
                                   .set("free_mib", mib(gpu.found->free))
                             : Json());
  facts.set("gpu_missing", gpu.found ? Json() : Json(gpu.reason));
  return {.facts = std::move(facts), .warnings = warnings_of(memory, limits, disk)};
}

std::string machine_text(const Json& facts) {
  const auto joined = [](const Json& list) {
    std::vector<std::string> words;
    for (const Json& item : list.items()) words.push_back(item.string());
    return fmt::format("{}", fmt::join(words, " "));
  };
  const Json &cpu = facts.at("cpu"), &simd = facts.at("simd"), &memory = facts.at("memory_mib");
  const Json &cpus = facts.at("limits").at("cpus"), &bound = facts.at("limits").at("memory_mib");
  std::string text = "machine\n";
  const auto line = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<10} {}\n", what, value);
  };
  line("cpu", fmt::format("{}, {} of {} cores usable, {} threads used", cpu.get_string("model"),
                          cpu.get_int("usable"), cpu.get_int("online"), cpu.get_int("threads")));
  line("features", joined(cpu.at("features")));
  line("kernels", fmt::format("{} (compiled: {}; usable here: {})", simd.get_string("chosen"),
                              joined(simd.at("compiled")), joined(simd.at("usable"))));
  line("memory", fmt::format("{} MiB, {} available", memory.get_int("total"), memory.get_int("available")));
  line("limits",
       fmt::format("CPUs: {}, memory: {}", cpus.is_null() ? "none" : fmt::format("{:.1f}", cpus.number()),
                   bound.is_null() ? "none" : fmt::format("{} MiB", bound.integer())));
  line("disk", fmt::format("{} MiB free here", facts.get_int("disk_free_mib")));
  const Json& bf16 = facts.at("bf16_gflops");
  line("peaks", fmt::format("{:.0f} GFLOP/s of f32 FMA, {}{:.1f} GB/s read from memory",
                            facts.get_number("fma_gflops"),
                            bf16.is_null() ? "" : fmt::format("{:.0f} of VDPBF16PS, ", bf16.number()),
                            facts.get_number("read_gb_s")));
  line("numerics",
       fmt::format("{}; on the CPU, the default is {} for f32 and {} for bf16", joined(facts.at("numerics")),
                   name_of(default_numerics(DType::f32)), name_of(default_numerics(DType::bf16))));
  const Json& gpu = facts.at("gpu");
  line("gpu", gpu.is_null()
                  ? facts.get_string("gpu_missing")
                  : fmt::format("{}, {} MiB, {} free, compute capability {}, driver for CUDA {}; the "
                                "default is cpu-f32 for f32 and cuda-bf16 for bf16",
                                gpu.get_string("name"), gpu.get_int("memory_mib"), gpu.get_int("free_mib"),
                                gpu.get_string("capability"), gpu.get_string("cuda")));
  std::vector<std::string> versions;
  for (const auto& [name, version] : facts.at("libraries").members())
    versions.push_back(name == "openssl" ? version.string() : name + " " + version.string());
  line("libraries", fmt::format("{}", fmt::join(versions, ", ")));
  return text;
}

}  // namespace r1
