// Any bytes read as a GGUF file give an Error, or a header whose tensors lie inside the file, apart from each
// other, and whose values can all be decoded. Tensors that have values are dequantised. A byte-level
// tokenizer that the keys give is, written as tokenizer.json, the same tokenizer; one with scores may have two
// ways to make one piece, whose order tokenizer.json cannot leave open. A model's sizes that the keys give are
// those of the config.json that they are written as.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_file.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "text/gguf_tokenizer.h"
#include "text/gguf_tokenizer_files.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void use(std::span<const std::byte> file, const r1::GgufHeader& header) {
  std::set<std::pair<uint64_t, uint64_t>> ranges;
  for (const r1::GgufTensor& tensor : header.tensors) {
    require(tensor.begin <= tensor.end && tensor.end - tensor.begin <= file.size());
    if (tensor.begin == tensor.end) continue;
    require(tensor.begin >= header.data_begin && tensor.end <= file.size());
    require(ranges.emplace(tensor.begin, tensor.end).second);
    if (!r1::can_dequantize(tensor.type) || tensor.count() > 1 << 20) continue;
    std::vector<float> out(static_cast<size_t>(tensor.count()));
    r1::dequantize(tensor.type, file.subspan(tensor.begin, tensor.end - tensor.begin), out);
  }
  uint64_t end = 0;
  for (const auto& [first, last] : ranges) {
    require(first >= end);
    end = last;
  }
  for (const std::string_view key : header.metadata.keys()) {
    require(header.metadata.contains(key));
    require(header.metadata.json(key).dump().size() < 64 * file.size() + 64);
  }
}

void use_text(const r1::GgufMetadata& metadata) {
  try {
    const r1::Tokenizer tokenizer = r1::read_gguf_tokenizer(metadata);
    const bool scored = metadata.get_string("tokenizer.ggml.model") == "llama";
    const std::string text = r1::gguf_tokenizer_files(metadata).at("tokenizer.json");
    const r1::Tokenizer written = r1::Tokenizer::from_json(r1::parse_json(text, "fuzz"));
    for (const char* trial : {"ab ba<s> 12\n", "<|im_end|>aab</s>", ""}) {
      const std::vector<int32_t> ids = tokenizer.encode(trial, true);
      require(scored || ids == written.encode(trial, true));
      require(tokenizer.decode(ids) == written.decode(ids));
      for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
    }
  } catch (const r1::Error& error) {
    require(std::string_view(error.what()).starts_with("fuzz: "));
  }
  try {
    static_cast<void>(r1::read_gguf_chat_templates(metadata).text());
  } catch (const r1::Error&) {
  }
}

// The file is opened by its name, which is one for each process.
void use_model(std::span<const std::byte> bytes) {
  static const std::string path =
      std::filesystem::temp_directory_path() / ("r1_gguf_fuzz_" + std::to_string(::getpid()) + ".gguf");
  try {
    {
      std::ofstream out(path, std::ios::binary);
      out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    const r1::GgufFile file(path);
    const r1::ModelConfig config = r1::read_model_config(file);
    const std::string text = r1::to_json(config).dump();
    require(r1::to_json(r1::read_model_config(r1::parse_json(text, "fuzz"))).dump() == text);
    for (const std::string& name : r1::gguf_checkpoint_names(file, config))
      require(r1::gguf_place(config, name).has_value());
  } catch (const r1::Error& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  std::filesystem::remove(path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  try {
    const r1::GgufHeader header = r1::parse_gguf_header(file, "fuzz");
    use(file, header);
    use_text(header.metadata);
    if (header.metadata.contains("general.architecture")) use_model(file);
  } catch (const r1::Error& error) {
    const std::string_view why = error.what();
    require(why.starts_with("fuzz: ") && why.find('\n') == std::string_view::npos && why.size() < 2000);
  }
  return 0;
}
