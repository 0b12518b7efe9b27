#include "text/tiktoken_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "formats/shown.h"
#include "text/byte_alphabet.h"
#include "text/configured_tokens.h"
#include "text/gguf_pretokenizers.h"
#include "text/piece_merges.h"
#include "text/tokenizer_spec.h"
#include "text/tokenizer_writer.h"

namespace r1 {
namespace {

constexpr int32_t kReservedTokens = 258;
constexpr const char* kTiktokenFile = "tiktoken.model";

std::optional<std::string> from_base64(std::string_view text) {
  static const std::array<int8_t, 256> kDigits = [] {
    std::array<int8_t, 256> digits{};
    digits.fill(-1);
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < kAlphabet.size(); ++i)
      digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
    return digits;
  }();
  if (text.size() % 4 != 0) return std::nullopt;
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int8_t digit = kDigits[static_cast<unsigned char>(c)];
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  return out;
}

struct TiktokenParts {
  TokenizerSpec spec;
  TokenizerRules rules;
};

// Adds the special tokens in the order of their ids.
void add_reserved(const std::filesystem::path& directory, TokenizerSpec& spec) {
  const auto base = static_cast<int32_t>(spec.vocab.size());
  for (int32_t id = base; id < base + kReservedTokens; ++id)
    spec.added.push_back({.content = fmt::format("<|reserved_token_{}|>", id), .id = id});
  for (const AddedToken& token : configured_tokens(directory)) {
    if (token.id < base || token.id >= base + kReservedTokens) continue;
    AddedToken& place = spec.added[static_cast<size_t>(token.id - base)];
    place.content = token.content;
    place.special = token.special;
  }
}

TiktokenParts read_parts(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / kTiktokenFile;
  const std::filesystem::path config_file = directory / "tokenizer_config.json";
  const Json config = std::filesystem::exists(config_file) ? read_json(config_file) : Json::object();
  const std::string kind = config.get_string_or("tokenizer_class", "");
  if (kind != "TikTokenTokenizer") {
    throw Error(
        fmt::format("{}: has {} and no tokenizer.json; only the tokenizer_class TikTokenTokenizer, "
                    "Moonlight's and Kimi's, is read so, and tokenizer_config.json has {}",
                    directory.string(), kTiktokenFile, kind.empty() ? "none" : shown(kind)));
  }
  const std::vector<TiktokenToken> tokens = parse_tiktoken(read_file(file), file.string());
  TiktokenParts out;
  std::vector<RankedPiece> pieces;
  for (const TiktokenToken& token : tokens) {
    out.spec.vocab.emplace_back(bytes_to_letters(token.bytes), token.rank);
    pieces.push_back({token.bytes, static_cast<uint32_t>(token.rank)});
  }
  PieceMerges merges = merges_of_pieces(pieces, false);
  for (auto& [left, right] : merges.merges)
    out.spec.merges.emplace_back(bytes_to_letters(left), bytes_to_letters(right));
  out.spec.ranks = std::move(merges.ranks);
  const GgufPreTokenizer words = gguf_pre_tokenizer("kimi-k2");
  out.spec.ignore_merges = words.ignore_merges;
  out.rules.pre_tokenizer = words.pre_tokenizer;
  out.rules.decoder = byte_level_decoder();
  out.spec.pre_tokenizer = PreTokenizer(out.rules.pre_tokenizer);
  add_reserved(directory, out.spec);
  return out;
}

}  // namespace

std::vector<TiktokenToken> parse_tiktoken(std::string_view text, const std::string& source) {
  std::vector<TiktokenToken> tokens;
  size_t number = 0;
  const auto fail = [&](const std::string& why) {
    throw Error(fmt::format("{}:{}: {}", source, number, why));
  };
  for (size_t at = 0; at < text.size();) {
    const size_t newline = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, newline - at);
    at = newline + 1;
    ++number;
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) fail("is not a token in base 64, a space and its rank");
    const std::string_view digits = line.substr(space + 1);
    int32_t rank = -1;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (error != std::errc() || stop != digits.data() + digits.size() || rank < 0 ||
        rank > kMaxTokenId - kReservedTokens) {
      fail(fmt::format("has the rank {}; it must be between 0 and {}", shown(digits),
                       kMaxTokenId - kReservedTokens));
    }
    auto bytes = from_base64(line.substr(0, space));
    if (!bytes || bytes->empty()) fail("has a token that is not base 64");
    if (bytes->size() > kMaxPieceBytes)
      fail(fmt::format("has a token of {} bytes; at most {} are accepted", bytes->size(), kMaxPieceBytes));
    tokens.push_back({std::move(*bytes), rank});
  }
  if (tokens.empty()) throw Error(fmt::format("{}: has no tokens", source));
  return tokens;
}

bool has_tiktoken_file(const std::filesystem::path& directory) {
  return std::filesystem::exists(directory / kTiktokenFile) &&
         !std::filesystem::exists(directory / "tokenizer.json");
}

Tokenizer read_tiktoken(const std::filesystem::path& directory) {
  TiktokenParts parts = read_parts(directory);
  return Tokenizer::from_spec(std::move(parts.spec), (directory / kTiktokenFile).string());
}

std::map<std::string, std::string> tiktoken_as_tokenizer_files(const std::filesystem::path& directory) {
  const TiktokenParts parts = read_parts(directory);
  const Json config = read_json(directory / "tokenizer_config.json");
  Json plain = Json::object();
  for (const auto& [name, value] : config.members()) {
    if (name == "auto_map") continue;  // names a Python file of the model
    if (name == "tokenizer_class") {
      plain.set(name, "PreTrainedTokenizerFast");
    } else {
      plain.set(name, value);
    }
  }
  return {{"tokenizer.json", tokenizer_json_text(parts.spec, parts.rules)},
          {"tokenizer_config.json", plain.dump(2) + "\n"}};
}

}  // namespace r1
