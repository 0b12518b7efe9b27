// cli/convert.cc: `r1 convert`: a model from a Hugging Face directory to a GGUF file, or back, or to another
// type.
#include "engine/convert.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/common.h"
#include "cli/convert_common.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace r1 {
namespace {

void note_line(const std::string& line) {
  show_warnings(std::vector{line});
}

Json convert_to_gguf(const ConvertOptions& options, const std::filesystem::path& in) {
  ThreadPool threads(thread_count(options.common));
  GgufRequest request;
  request.in = in;
  request.out = options.output;
  request.tokenizer = !options.no_tokenizer;
  request.keep_mtp = options.keep_mtp;
  request.note = note_line;
  if (!options.common.dtype.empty()) request.preset = &quantize_preset(options.common.dtype, "--dtype");
  TensorProgress progress;
  request.progress = progress.callback();
  const QuantizeTally tally = write_gguf_model(threads, request);
  progress.clear();
  Json out = Json::object();
  out.set("output", options.output);
  const Json figures = tally_json(tally);
  for (const auto& [name, value] : figures.members()) out.set(name, value);
  if (!options.common.json) write_stdout(fmt::format("{}: {}", options.output, tally_text(tally)));
  return out;
}

Json convert_to_directory(const ConvertOptions& options, const std::filesystem::path& in) {
  if (options.no_tokenizer) throw Error("--no-tokenizer is for an output that is a GGUF file");
  if (options.keep_mtp)
    throw Error("--keep-mtp is for an output that is a GGUF file: a directory always keeps the MTP head");
  DirectoryRequest request;
  request.in = in;
  request.out = options.output;
  request.note = note_line;
  const std::string& dtype = options.common.dtype;
  if (!dtype.empty()) request.dtype = dtype == "f32" ? DType::f32 : dtype == "f16" ? DType::f16 : DType::bf16;
  TensorProgress progress;
  request.progress = progress.callback();
  const DirectoryTally tally = write_model_directory(request);
  progress.clear();
  Json out = Json::object();
  out.set("output", options.output).set("weights", tally.weights).set("bytes_after", tally.bytes);
  out.set("dtype", name_of(tally.dtype)).set("tensors", tally.tensors);
  if (!options.common.json) {
    write_stdout(fmt::format("{}: {} tensors, {} in {}\n", options.output, tally.tensors,
                             size_text(tally.bytes), name_of(tally.dtype)));
  }
  return out;
}

}  // namespace

int run_convert(const ConvertOptions& options) {
  const std::string& dtype = options.common.dtype;
  if (!dtype.empty() && dtype != "f32" && dtype != "bf16" && dtype != "f16") {
    throw Error(fmt::format(
        "--dtype {}: r1 convert writes f32, bf16 and f16; r1 quantize writes the types with blocks", dtype));
  }
  CommonOptions machine = options.common;
  machine.dtype.clear();
  check_common(machine);
  const std::filesystem::path in = resolve_model(options.model);
  check_model_output(in, options.output, options.force);
  const Json out =
      is_gguf_name(options.output) ? convert_to_gguf(options, in) : convert_to_directory(options, in);
  if (options.common.json) write_stdout(out.dump() + "\n");
  return 0;
}

}  // namespace r1
