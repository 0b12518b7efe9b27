// cli/quantize.cc: `r1 quantize`: a model as a GGUF file with quantised weights.
#include <fmt/format.h>

#include <optional>

#include "base/error.h"
#include "cli/common.h"
#include "cli/convert_common.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "engine/convert.h"

namespace r1 {

int run_quantize(const QuantizeOptions& options) {
  check_common(options.common);
  const QuantizePreset& preset = quantize_preset(options.type, "--type");
  GgufRequest request;
  for (const std::string& rule : options.tensor_types) request.rules.push_back(tensor_rule(rule));
  if (!is_gguf_name(options.output))
    throw Error(fmt::format("{}: the output is a GGUF file, so its name must end in .gguf", options.output));
  if (options.keep_mtp && !options.imatrix.empty())
    throw Error("--keep-mtp: an importance matrix has no sums for the MTP head; leave out one of the two");
  const std::filesystem::path in = resolve_model(options.model);
  check_model_output(in, options.output, options.force);
  std::optional<ImportanceMatrix> importance;
  if (!options.imatrix.empty()) {
    refuse_overwriting(options.imatrix, options.output);
    importance.emplace(options.imatrix);
  }
  ThreadPool threads(thread_count(options.common));
  request.in = in;
  request.out = options.output;
  request.preset = &preset;
  request.pure = options.pure;
  request.importance = importance ? &*importance : nullptr;
  request.tokenizer = !options.no_tokenizer;
  request.keep_mtp = options.keep_mtp;
  std::vector<std::string> notes;
  request.note = [&](const std::string& line) {
    notes.push_back(line);
    show_warnings(std::vector{line});
  };
  TensorProgress progress;
  request.progress = progress.callback();
  const QuantizeTally tally = write_gguf_model(threads, request);
  progress.clear();
  if (!options.common.json) {
    write_stdout(fmt::format("{}: {} {}", options.output, preset.name, tally_text(tally)));
    return 0;
  }
  Json out = Json::object();
  out.set("output", options.output).set("type", preset.name);
  const Json figures = tally_json(tally);
  for (const auto& [name, value] : figures.members()) out.set(name, value);
  out.set("notes", Json::array_of(notes));
  write_stdout(out.dump() + "\n");
  return 0;
}

}  // namespace r1
