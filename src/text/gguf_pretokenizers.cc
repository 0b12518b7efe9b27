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
// Kimi's: Chinese characters are words of their own, and a contraction belongs to its word.
constexpr const char* kKimi =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// DeepSeek V3's words, as others have taken them over.
constexpr const char* kDeepseekDigits = R"(\p{N}{1,3})";
constexpr const char* kDeepseekAsian = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr const char* kSparkWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
// Words up to punctuation, of BLOOM and its kin.
constexpr const char* kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";
constexpr const char* kAfmoeAsian =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{0E00}-\x{0E7F}\x{0E80}-\x{0EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)";
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

GgufPreTokenizer in_nfc(GgufPreTokenizer rules) {
  rules.normalizer = Json::object().set("type", "NFC");
  return rules;
}

GgufPreTokenizer qwen2() {
  return in_nfc(llama3(""));
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
  return {.pre_tokenizer =
              sequence({split(kDeepseekDigits), split(kDeepseekAsian), split(kDeepseekV3)}, false)};
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

// The words of Llama 3 with another pattern for one of their kinds; {} stands for the contractions.
GgufPreTokenizer words_of(const char* pattern) {
  return {.pre_tokenizer = sequence({split(fmt::format(fmt::runtime(pattern), kContractions))}, false)};
}

GgufPreTokenizer jais2() {
  return words_of(
      R"({}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s{{512}}(?!\S)|\s{{256}}(?!\S)|\s{{128}}(?!\S)|\s{{64}}(?!\S)|\s{{32}}(?!\S)|\s{{16}}(?!\S)|\s{{8}}(?!\S)|\s{{4}}(?!\S)|\s{{1,2}}(?!\S)|\s{{1}})");
}

GgufPreTokenizer qwen35() {
  return in_nfc(words_of(
      R"({}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"));
}

GgufPreTokenizer bailing() {
  return words_of(
      R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)");
}

GgufPreTokenizer seed_coder() {
  return words_of(
      R"({}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)");
}

GgufPreTokenizer exaone_moe() {
  return words_of(
      R"({}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)");
}

GgufPreTokenizer ufakzeka() {
  return words_of(
      R"([^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
}

GgufPreTokenizer laguna() {
  return {
      .pre_tokenizer = sequence(
          {split(R"([^\n]+|[\n]+)"), split(fmt::format(fmt::runtime(kLlama3), kContractions, ""))}, false)};
}

GgufPreTokenizer minicpm5() {
  return {.pre_tokenizer = sequence(
              {split(kDeepseekDigits), split(fmt::format(fmt::runtime(kLlama3), kContractions, "+"))}, false),
          .ignore_merges = true};
}

GgufPreTokenizer spark() {
  return {.pre_tokenizer = sequence(
              {split(kDeepseekDigits), split(kDeepseekAsian), split(kSparkWords), split(R"(\p{N})")}, false)};
}

GgufPreTokenizer youtu() {
  return {
      .pre_tokenizer = sequence(
          {split(
               R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"),
           split(fmt::format(fmt::runtime(kGpt4o), fmt::format("{}?", kContractions), ""))},
          false),
      .ignore_merges = true};
}

GgufPreTokenizer bloom() {
  return {.pre_tokenizer = sequence({split(kBloom)}, false)};
}

GgufPreTokenizer viking() {
  return {.pre_tokenizer = sequence({split(kBloom), split(R"(\p{N})")}, false)};
}

GgufPreTokenizer chameleon() {
  return {.pre_tokenizer =
              sequence({split("<sentinel:[0-9]+>"), split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
                        split(R"(([\t\n]|    |  ))"), split(R"(\p{N})"), split(R"([\p{P}!-/:-@\[-`{-~])")},
                       true),
          .add_bos = true};
}

// Digits in groups of three from the right; without a lookahead for other word characters in AFMoE's.
GgufPreTokenizer tiny_aya() {
  return {.pre_tokenizer =
              sequence({split(R"(\d{1,3}(?=(?:\d{3})*\b))"),
                        split(fmt::format(fmt::runtime(kGpt4o), fmt::format("{}?", kContractions), "{1,3}"))},
                       false)};
}

GgufPreTokenizer afmoe() {
  return {
      .pre_tokenizer = sequence(
          {split(R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))"), split(kAfmoeAsian), split(kDeepseekV3)}, false)};
}

GgufPreTokenizer superbpe() {
  return {.pre_tokenizer = sequence({split(R"(\p{N}+)"), split(R"((?=(\d{3})+(?!\d)))")}, false)};
}

GgufPreTokenizer granite_multilingual() {
  GgufPreTokenizer out = gpt4o();
  out.ignore_merges = true;
  return out;
}

GgufPreTokenizer kimi() {
  return {.pre_tokenizer = sequence({split(kKimi)}, false), .ignore_merges = true};
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
    {"falcon-h1", llama3_bpe},
    {"pixtral", llama3_bpe},
    {"midm-2.0", llama3_bpe},
    {"lfm2", llama3_bpe},
    {"jina-v5-nano", llama3_bpe},
    {"jais-2", jais2},
    {"minicpm5", minicpm5},
    {"spark2_5", spark},
    {"youtu", youtu},
    {"f2llmv2", qwen2},
    {"hunyuan", stablelm2},
    {"solar-open", stablelm2},
    {"grok-2", stablelm2},
    {"qwen35", qwen35},
    {"hy_v4", deepseek_v3},
    {"jais", gpt2},
    {"jina-es", gpt2},
    {"jina-de", gpt2},
    {"jina-v2-es", gpt2},
    {"jina-v2-de", gpt2},
    {"a.x-4.0", gpt2},
    {"mellum", gpt2},
    {"modern-bert", gpt2},
    {"exaone4", gpt2},
    {"granite-docling", gpt2},
    {"exaone", gpt2_single_digits},
    {"minerva-7b", gpt2_single_digits},
    {"mellum2", gpt2_single_digits},
    {"kanana2", gpt4o},
    {"talkie", gpt4o},
    {"minimax-m2", gpt4o},
    {"granite-embed-multi-97m", granite_multilingual},
    {"tiny_aya", tiny_aya},
    {"cohere2moe", tiny_aya},
    {"afmoe", afmoe},
    {"bloom", bloom},
    {"gpt3-finnish", bloom},
    {"poro-chat", bloom},
    {"viking", viking},
    {"chameleon", chameleon},
    {"superbpe", superbpe},
    {"bailingmoe", bailing},
    {"bailingmoe2", bailing},
    {"llada-moe", bailing},
    {"seed-coder", seed_coder},
    {"exaone-moe", exaone_moe},
    {"laguna", laguna},
    {"ufakzeka", ufakzeka},
    {"kimi-k2", kimi},
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
