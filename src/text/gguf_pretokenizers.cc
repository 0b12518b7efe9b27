#include "text/gguf_pretokenizers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// Each is the pattern of the model's tokenizer.json; digits between words are grouped by at most N.
constexpr const char* kContractions = R"((?i:'s|'t|'re|'ve|'m|'ll|'d))";
constexpr const char* kLlama3 =
    R"({}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Words begin with capitals and end with small letters; a contraction belongs to its word.
constexpr const char* kGpt4o =
    R"([^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{0}|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{0}|\p{{N}}{1}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Letters with case, as of the Unicode version that DeepSeek LLM's pattern was made with. U+1C88 to U+1C8A
// are among them and U+10CB2 and U+10CF2 are not, unlike there: text/unicode_delta.h lets newer letters be
// read as these. clang-format off
constexpr const char* kCasedLetters =
    R"(\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF})"
    R"(\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386})"
    R"(\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F})"
    R"(\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C88}-\x{1CBA})"
    R"(\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15})"
    R"(\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B})"
    R"(\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4})"
    R"(\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4})"
    R"(\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F})"
    R"(\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17})"
    R"(\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3})"
    R"(\x{104D8}-\x{104FB}\x{10C80}-\x{10CB1}\x{10CC0}-\x{10CF1}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})";
// clang-format on
constexpr const char* kAsian = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

Json split(std::string_view pattern) {
  Json regex = Json::object();
  regex.set("Regex", pattern);
  Json out = Json::object();
  out.set("type", "Split").set("pattern", std::move(regex)).set("behavior", "Isolated").set("invert", false);
  return out;
}

Json single_digits() {
  Json out = Json::object();
  out.set("type", "Digits").set("individual_digits", true);
  return out;
}

// `parts`, then the bytes of what is left; `words`: by GPT-2's pattern.
Json sequence(std::vector<Json> parts, bool words) {
  Json bytes = Json::object();
  bytes.set("type", "ByteLevel")
      .set("add_prefix_space", false)
      .set("trim_offsets", true)
      .set("use_regex", words);
  parts.push_back(std::move(bytes));
  Json out = Json::object();
  out.set("type", "Sequence").set("pretokenizers", Json::array_of(parts));
  return out;
}

GgufPreTokenizer llama3(const char* digits) {
  return {.pre_tokenizer =
              sequence({split(fmt::format(fmt::runtime(kLlama3), kContractions, digits))}, false)};
}

GgufPreTokenizer llama3_bpe() {
  GgufPreTokenizer out = llama3("{1,3}");
  out.ignore_merges = out.add_bos = true;
  return out;
}

GgufPreTokenizer llama3_merged() {
  return llama3("{1,3}");
}

GgufPreTokenizer qwen2() {
  GgufPreTokenizer out = llama3("");
  out.normalizer = Json::object();
  out.normalizer.set("type", "NFC");
  return out;
}

GgufPreTokenizer stablelm2() {
  return llama3("");
}

GgufPreTokenizer gpt2() {
  return {.pre_tokenizer = sequence({}, true)};
}

GgufPreTokenizer gpt2_single_digits() {
  return {.pre_tokenizer = sequence({single_digits()}, true)};
}

GgufPreTokenizer gpt4o() {
  return {.pre_tokenizer = sequence(
              {split(fmt::format(fmt::runtime(kGpt4o), fmt::format("{}?", kContractions), "{1,3}"))}, false)};
}

GgufPreTokenizer tekken() {
  return {.pre_tokenizer = sequence({split(fmt::format(fmt::runtime(kGpt4o), "", ""))}, false),
          .ignore_merges = true,
          .add_bos = true};
}

GgufPreTokenizer deepseek_v3() {
  return {.pre_tokenizer = sequence(
              {split(R"(\p{N}{1,3})"), split(R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"),
               split(kDeepseekV3)},
              false)};
}

GgufPreTokenizer deepseek_llm() {
  return {.pre_tokenizer = sequence(
              {split(R"([\r\n])"), split(fmt::format(R"(\s?[{}]+)", kCasedLetters)),
               split(R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)"),
               split(R"(\s+$)"), split(kAsian), single_digits()},
              false)};
}

GgufPreTokenizer deepseek_coder() {
  return {.pre_tokenizer = sequence({split(R"([\r\n])"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                                     split(kAsian), single_digits()},
                                    false)};
}

GgufPreTokenizer falcon() {
  return {.pre_tokenizer =
              sequence({split(R"([\p{P}\$\+<=>\^~\|`]+)"), split(kGpt2), split("[0-9][0-9][0-9]")}, false)};
}

GgufPreTokenizer without_a_name() {
  return {.pre_tokenizer = sequence(
              {split(R"([\p{P}\$\+<=>\^~\|]+)"), split(kGpt2), split(R"(\p{N}+)"), split("[0-9][0-9][0-9]")},
              false)};
}

struct Row {
  std::string_view name;
  GgufPreTokenizer (*make)();
};

constexpr Row kPreTokenizers[] = {
    {"default", without_a_name},
    {"llama3", llama3_bpe},
    {"llama-v3", llama3_bpe},
    {"llama-bpe", llama3_bpe},
    {"falcon3", llama3_bpe},
    {"dbrx", llama3_merged},
    {"smaug-bpe", llama3_merged},
    {"chatglm-bpe", llama3_merged},
    {"glm4", llama3_merged},
    {"qwen2", qwen2},
    {"deepseek-r1-qwen", qwen2},
    {"megrez", qwen2},
    {"kormo", qwen2},
    {"stablelm2", stablelm2},
    {"deepseek-llm", deepseek_llm},
    {"deepseek-coder", deepseek_coder},
    {"deepseek-v3", deepseek_v3},
    {"hunyuan-dense", deepseek_v3},
    {"joyai-llm", deepseek_v3},
    {"falcon", falcon},
    {"gpt-2", gpt2},
    {"phi-2", gpt2},
    {"mpt", gpt2},
    {"olmo", gpt2},
    {"gigachat", gpt2},
    {"trillion", gpt2},
    {"smollm", gpt2_single_digits},
    {"starcoder", gpt2_single_digits},
    {"refact", gpt2_single_digits},
    {"command-r", gpt2_single_digits},
    {"codeshell", gpt2_single_digits},
    {"gpt-4o", gpt4o},
    {"llama4", gpt4o},
    {"tekken", tekken},
};

}  // namespace

std::vector<std::string_view> gguf_pre_tokenizer_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kPreTokenizers) names.push_back(row.name);
  return names;
}

GgufPreTokenizer gguf_pre_tokenizer(std::string_view name) {
  for (const Row& row : kPreTokenizers) {
    if (row.name == name) return row.make();
  }
  const std::vector<std::string_view> names = gguf_pre_tokenizer_names();
  throw Error(fmt::format("is {}, which is not known: known are {}", shown(name), fmt::join(names, ", ")));
}

}  // namespace r1
