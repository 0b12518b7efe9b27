#include "cli/convert_common.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/pending_file.h"
#include "formats/gguf_file.h"
#include "model/gguf_config.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code none;
  return fs::equivalent(a, b, none) && !none;
}

}  // namespace

bool is_gguf_name(const fs::path& out) {
  return out.extension() == ".gguf";
}

void check_model_output(const fs::path& in, const fs::path& out, bool force) {
  std::error_code none;
  const auto refuse = [&] {
    throw Error(fmt::format("{}: is the input: give the output another name", out.string()));
  };
  if (is_same_file(in, out)) refuse();
  if (is_gguf(in) && fs::exists(out, none)) {
    const GgufFile file(in);
    for (const GgufTensor& tensor : file.tensors()) {
      if (is_same_file(file.path(tensor), out)) refuse();
    }
  }
  const fs::path folder = out.parent_path();
  if (!folder.empty() && !fs::is_directory(folder, none))
    throw Error(fmt::format("{}: the folder {} does not exist", out.string(), folder.string()));
  if (!fs::exists(out, none)) return;
  if (is_gguf_name(out)) {
    if (fs::is_directory(out, none))
      throw Error(fmt::format("{}: is a folder; the output must be a file", out.string()));
    if (!force && !is_special_file(out))
      throw Error(fmt::format("{}: exists: give --force to replace it, or another name", out.string()));
    return;
  }
  if (!fs::is_directory(out, none))
    throw Error(fmt::format("{}: is a file; the output is a folder, or a file whose name ends in .gguf",
                            out.string()));
  if (fs::is_empty(out, none)) return;
  if (!force)
    throw Error(fmt::format("{}: exists: give --force to replace it, or another name", out.string()));
  if (!fs::exists(out / "config.json", none)) {
    throw Error(
        fmt::format("{}: is a folder without config.json, so it is no model: --force replaces only models",
                    out.string()));
  }
}

std::string size_text(uint64_t bytes) {
  constexpr double kMB = 1e6, kGB = 1e9;
  const auto size = static_cast<double>(bytes);
  if (size >= kGB) return fmt::format("{:.2f} GB", size / kGB);
  return size >= kMB ? fmt::format("{:.1f} MB", size / kMB) : fmt::format("{:.1f} kB", size / 1e3);
}

Json tally_json(const QuantizeTally& tally) {
  Json types = Json::object();
  for (const auto& [type, one] : tally.types) {
    Json row = Json::object();
    row.set("tensors", one.tensors).set("weights", one.weights).set("bytes", one.bytes);
    row.set("relative_rms_error", one.relative_rms());
    types.set(name_of(type), std::move(row));
  }
  Json out = Json::object();
  out.set("weights", tally.weights)
      .set("bytes_before", tally.bytes_before)
      .set("bytes_after", tally.bytes_after);
  out.set("bits_per_weight", tally.bits_per_weight()).set("types", std::move(types));
  return out;
}

std::string tally_text(const QuantizeTally& tally) {
  std::string out = fmt::format("{} -> {}, {:.2f} bits per weight\n", size_text(tally.bytes_before),
                                size_text(tally.bytes_after), tally.bits_per_weight());
  for (const auto& [type, one] : tally.types) {
    out += fmt::format("  {:7}{:5} {:8}{:>10}   ", name_of(type), one.tensors,
                       one.tensors == 1 ? "tensor" : "tensors", size_text(one.bytes));
    out +=
        one.error_squares > 0 ? fmt::format("error {:.3g} (relative RMS)\n", one.relative_rms()) : "exact\n";
  }
  return out;
}

}  // namespace r1
