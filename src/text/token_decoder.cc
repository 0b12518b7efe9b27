#include "text/token_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "formats/shown.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace r1 {
namespace {

constexpr const char* kReplacementText = "\xEF\xBF\xBD";  // U+FFFD
constexpr size_t kMaxDecoders = 64;

// The order in which a Sequence has its parts.
enum class DecoderStage { replace, bytes, fuse, strip };

// Reads a text of exactly one character.
std::string one_character(const Json& value) {
  const std::string& text = value.string();
  if (text.empty() || static_cast<size_t>(decode_utf8(text, 0).size) != text.size())
    value.fail("must be one character");
  return text;
}

class DecoderReader {
 public:
  explicit DecoderReader(const Json& whole) : whole_(whole) {}

  DecoderRules read() {
    add(whole_, 0);
    return std::move(rules_);
  }

 private:
  void enter(const Json& part, DecoderStage stage) {
    if (++count_ > kMaxDecoders) part.fail("is one of too many decoders");
    if (stage < stage_)
      part.at("type").fail(
          "is out of order: Replace (or Metaspace), ByteFallback, Fuse and Strip may follow each other in "
          "this order");
    stage_ = stage;
  }

  void add(const Json& part, int depth) {
    const std::string& type = part.get_string("type");
    if (type == "Sequence") {
      if (depth > 8) part.fail("is nested too deeply");
      for (const Json& inner : part.at("decoders").items()) add(inner, depth + 1);
    } else if (type == "Replace") {
      enter(part, DecoderStage::replace);
      add_replace(part);
    } else if (type == "Metaspace") {
      enter(part, DecoderStage::replace);
      add_metaspace(part);
    } else if (type == "ByteFallback") {
      enter(part, DecoderStage::bytes);
      rules_.byte_fallback = true;
    } else if (type == "Fuse") {
      enter(part, DecoderStage::fuse);
    } else if (type == "Strip") {
      add_strip(part);
    } else {
      part.at("type").fail(fmt::format(
          "is {}, only Replace, Metaspace, ByteFallback, Fuse, Strip and Sequence are supported where the "
          "pre-tokenizer has no ByteLevel",
          shown(type)));
    }
  }

  void add_replace(const Json& part) {
    const Json& pattern = part.at("pattern");
    if (pattern.contains("Regex"))
      pattern.at("Regex").fail("is a regular expression: only a pattern that is a String is supported here");
    const std::string& text = pattern.get_string("String");
    if (text.empty()) pattern.at("String").fail("is empty");
    const std::string& content = part.get_string("content");
    // A token that grew in each of many replacements could fill the memory.
    if (content.size() > 64) part.at("content").fail("has more than 64 bytes");
    if (!rules_.dropped_in_first.empty()) part.fail("follows a Metaspace, which is not supported");
    if (rules_.replacements.size() >= 4) part.fail("is the fifth Replace; at most 4 are supported");
    rules_.replacements.emplace_back(text, content);
  }

  void add_metaspace(const Json& part) {
    if (!rules_.replacements.empty()) part.fail("follows another replacement, which is not supported");
    const std::string mark = one_character(part.at("replacement"));
    rules_.replacements.emplace_back(mark, " ");
    if (metaspace_prepends(part)) rules_.dropped_in_first = mark;
  }

  static bool metaspace_prepends(const Json& part) {
    const Json* old = part.find("add_prefix_space");
    return part.get_string_or("prepend_scheme", "always") != "never" &&
           (old == nullptr || old->is_null() || old->boolean());
  }

  void add_strip(const Json& part) {
    if (stage_ < DecoderStage::fuse) part.fail("stands before Fuse, which is not supported");
    if (stage_ == DecoderStage::strip) part.fail("is the second Strip, one is supported");
    enter(part, DecoderStage::strip);
    if (part.get_int("stop") != 0) part.at("stop").fail("must be 0: the end of a text is not known early");
    rules_.strip = one_character(part.at("content"));
    rules_.strip_count = part.get_int("start");
    if (rules_.strip_count < 0) part.at("start").fail("is negative");
  }

  const Json& whole_;
  DecoderRules rules_;
  DecoderStage stage_ = DecoderStage::replace;
  size_t count_ = 0;
};

// Reads "<0x41>" as the tokenizers library does: from_str_radix allows a plus sign.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  const int high = token[3] == '+' ? 0 : digit(token[3]);
  const int low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

// The token's text after the replacements, and whether it is a byte.
struct DecodedPiece {
  std::string text;
  bool is_byte = false;
};

DecodedPiece decoded(const DecoderRules& rules, std::string_view token, bool first) {
  DecodedPiece piece{.text = std::string(token)};
  if (first && !rules.dropped_in_first.empty())
    piece.text = replace_all(piece.text, rules.dropped_in_first, "");
  for (const auto& [pattern, content] : rules.replacements) {
    if (piece.text.find(pattern) != std::string::npos) piece.text = replace_all(piece.text, pattern, content);
  }
  if (!rules.byte_fallback) return piece;
  if (const auto byte = byte_of(piece.text)) return {.text = std::string(1, *byte), .is_byte = true};
  return piece;
}

// One U+FFFD for each byte of what is not UTF-8.
std::string with_each_byte_replaced(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    const Utf8Step step = decode_utf8(bytes, at);
    if (step.valid) {
      out.append(bytes, at, static_cast<size_t>(step.size));
    } else {
      for (int i = 0; i < step.size; ++i) out += kReplacementText;
    }
    at += static_cast<size_t>(step.size);
  }
  return out;
}

}  // namespace

DecoderRules DecoderRules::parse(const Json& description) {
  return DecoderReader(description).read();
}

std::string TokenJoiner::stripped(std::string text) {
  size_t begin = 0;
  while (stripped_ < rules_->strip_count && begin < text.size()) {
    if (std::string_view(text).substr(begin).starts_with(rules_->strip)) {
      begin += rules_->strip.size();
      ++stripped_;
    } else {
      stripped_ = rules_->strip_count;
    }
  }
  text.erase(0, begin);
  return text;
}

std::string TokenJoiner::add(std::string_view token) {
  const DecodedPiece piece = decoded(*rules_, token, first_);
  first_ = false;
  if (!piece.is_byte) {
    const std::string before = with_each_byte_replaced(held_);
    held_.clear();
    return stripped(before + piece.text);
  }
  held_ += piece.text;
  const size_t whole = complete_utf8_prefix(held_);
  std::string text = with_each_byte_replaced(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return stripped(std::move(text));
}

std::string TokenJoiner::finish() {
  std::string text = with_each_byte_replaced(held_);
  held_.clear();
  return stripped(std::move(text));
}

std::string TokenJoiner::join(const DecoderRules& rules, const std::vector<std::string_view>& tokens) {
  std::string text, bytes;
  const auto end_bytes = [&] {
    if (is_valid_utf8(bytes)) {
      text += bytes;
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) text += kReplacementText;
    }
    bytes.clear();
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const DecodedPiece piece = decoded(rules, tokens[i], i == 0);
    if (piece.is_byte) {
      bytes += piece.text;
    } else {
      end_bytes();
      text += piece.text;
    }
  }
  end_bytes();
  return TokenJoiner(rules).stripped(std::move(text));
}

std::string piece_bytes(const DecoderRules& rules, std::string_view token) {
  return decoded(rules, token, false).text;
}

}  // namespace r1
