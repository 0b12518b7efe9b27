#include "text/pretokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "formats/shown.h"
#include "text/normalizer.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace r1 {
namespace {

// The pattern of ByteLevel itself, from GPT-2.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Digits uses Rust's char::is_numeric, which follows Unicode 17, while the patterns follow Unicode 16. The
// ranges are the numbers that Unicode 17 added.
constexpr std::string_view kNumber = "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]";

constexpr size_t kMaxSplits = 64;

}  // namespace

PreTokenizer::PreTokenizer(const Json& description) {
  if (!description.is_null()) add(description, true, 0);
}

void PreTokenizer::add(const Json& description, bool last, int depth) {
  const std::string& type = description.get_string("type");
  if (before_.size() + after_.size() > kMaxSplits || depth > 8) description.fail("is too long or too deep");
  if (type == "Sequence") {
    const auto& parts = description.at("pretokenizers").items();
    for (size_t i = 0; i < parts.size(); ++i) add(parts[i], last && i + 1 == parts.size(), depth + 1);
  } else if (type == "ByteLevel") {
    if (!last) description.fail("is ByteLevel, which is supported in the last place only");
    add_byte_level(description);
  } else if (type == "Metaspace") {
    add_metaspace(description);
  } else if (type == "Split") {
    add_split(description);
  } else if (type == "Digits") {
    add_digits(description);
  } else {
    description.at("type").fail(fmt::format(
        "is {}, only Sequence, Split, Digits, ByteLevel and Metaspace are supported", shown(type)));
  }
}

void PreTokenizer::add_split(const Json& description) {
  Split split;
  const Json& pattern = description.at("pattern");
  if (const Json* regex = pattern.find("Regex")) {
    try {
      split.pattern = Regex(regex->string());
    } catch (const Error& error) {
      regex->fail(error.what());
    }
  } else {
    split.pattern = pattern.get_string("String");
    if (std::get<std::string>(split.pattern).empty()) pattern.at("String").fail("is empty");
  }
  const std::string& behavior = description.get_string("behavior");
  if (behavior == "Removed") {
    split.behavior = Behavior::removed;
  } else if (behavior == "Isolated") {
    split.behavior = Behavior::isolated;
  } else if (behavior == "MergedWithPrevious") {
    split.behavior = Behavior::merged_with_previous;
  } else if (behavior == "MergedWithNext") {
    split.behavior = Behavior::merged_with_next;
  } else if (behavior == "Contiguous") {
    split.behavior = Behavior::contiguous;
  } else {
    description.at("behavior").fail(fmt::format("is {}, which is not known", shown(behavior)));
  }
  split.invert = description.get_bool_or("invert", false);
  splits().push_back(std::move(split));
}

void PreTokenizer::add_digits(const Json& description) {
  const bool individual = description.get_bool_or("individual_digits", false);
  splits().push_back({Regex(kNumber), individual ? Behavior::isolated : Behavior::contiguous, false});
}

void PreTokenizer::add_byte_level(const Json& description) {
  if (has_spacing_) description.fail("is a ByteLevel behind a Metaspace, which is not supported");
  has_spacing_ = is_byte_level_ = true;
  if (description.get_bool_or("add_prefix_space", true)) spacing_.prefix = Prefix::each_word;
  if (description.get_bool_or("use_regex", true))
    after_.push_back({Regex(kGpt2Pattern), Behavior::isolated, false});
}

void PreTokenizer::add_metaspace(const Json& description) {
  if (has_spacing_) description.fail("is the second Metaspace, one is supported");
  has_spacing_ = true;
  spacing_.mark = description.get_string("replacement");
  if (spacing_.mark.empty() ||
      static_cast<size_t>(decode_utf8(spacing_.mark, 0).size) != spacing_.mark.size())
    description.at("replacement").fail("must be one character");
  const std::string scheme = description.get_string_or("prepend_scheme", "always");
  if (scheme == "always") {
    spacing_.prefix = Prefix::each_word;
  } else if (scheme == "first") {
    spacing_.prefix = Prefix::first_word;
  } else if (scheme != "never") {
    description.at("prepend_scheme")
        .fail(fmt::format("is {}; it must be first, always or never", shown(scheme)));
  }
  // The field of older files.
  if (!description.get_bool_or("add_prefix_space", true)) spacing_.prefix = Prefix::none;
  if (description.get_bool_or("split", true))
    after_.push_back({spacing_.mark, Behavior::merged_with_next, false});
}

void PreTokenizer::find_pieces(const Split& split, std::string_view text, std::string_view classified,
                               TextRange word, std::vector<TextRange>& matches, std::vector<Piece>& pieces) {
  matches.clear();
  const size_t size = word.end - word.begin;
  if (const Regex* regex = std::get_if<Regex>(&split.pattern)) {
    regex->find_all(classified.substr(word.begin, size), matches);
  } else {
    const std::string& needle = std::get<std::string>(split.pattern);
    const std::string_view hay = text.substr(word.begin, size);
    for (size_t at = hay.find(needle); at != std::string_view::npos;
         at = hay.find(needle, at + needle.size())) {
      matches.push_back({at, at + needle.size()});
    }
  }
  size_t at = word.begin;
  for (const TextRange& match : matches) {
    if (at < word.begin + match.begin) pieces.push_back({{at, word.begin + match.begin}, split.invert});
    pieces.push_back({{word.begin + match.begin, word.begin + match.end}, !split.invert});
    at = word.begin + match.end;
  }
  if (at < word.end) pieces.push_back({{at, word.end}, split.invert});
}

void PreTokenizer::join_pieces(Behavior behavior, const std::vector<Piece>& pieces,
                               std::vector<TextRange>& words) {
  const size_t first = words.size();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    bool join = false;  // true: join with the previous piece
    switch (behavior) {
      case Behavior::removed:
        if (piece.is_match) continue;
        break;
      case Behavior::isolated:
        break;
      case Behavior::contiguous:
        join = i > 0 && pieces[i - 1].is_match == piece.is_match;
        break;
      case Behavior::merged_with_previous:
        join = i > 0 && piece.is_match && !pieces[i - 1].is_match;
        break;
      case Behavior::merged_with_next:
        join = i > 0 && !piece.is_match && pieces[i - 1].is_match;
        break;
    }
    if (join && words.size() > first) {
      words.back().end = piece.range.end;
    } else {
      words.push_back(piece.range);
    }
  }
  // An empty match cuts the text but is not a word.
  const auto is_empty = [](const TextRange& word) { return word.begin == word.end; };
  words.erase(std::remove_if(words.begin() + static_cast<ptrdiff_t>(first), words.end(), is_empty),
              words.end());
}

void PreTokenizer::space(std::string& text, std::vector<TextRange>& words, TextPlace place) const {
  if (!spacing_.used()) return;
  std::string spaced;
  spaced.reserve(text.size() + words.size());
  for (TextRange& word : words) {
    const bool begins = word.begin == 0;
    const bool wanted = spacing_.prefix == Prefix::each_word ? !begins || place != TextPlace::continuation
                                                             : spacing_.prefix == Prefix::first_word &&
                                                                   begins && place == TextPlace::beginning;
    const size_t begin = spaced.size();
    const std::string replaced =
        replace_all(std::string_view(text).substr(word.begin, word.end - word.begin), " ", spacing_.mark);
    if (wanted && !replaced.starts_with(spacing_.mark)) spaced += spacing_.mark;
    spaced += replaced;
    word = {begin, spaced.size()};
  }
  text = std::move(spaced);
}

void PreTokenizer::split(std::string& text, std::vector<TextRange>& words, TextPlace place) const {
  words.clear();
  if (text.empty()) return;
  words.push_back({0, text.size()});
  std::vector<TextRange> next;
  std::vector<TextRange> matches;
  std::vector<Piece> pieces;
  const auto run = [&](const std::vector<Split>& splits) {
    if (splits.empty()) return;
    const std::string swapped = swap_new_characters(text);
    const std::string_view classified = swapped.empty() ? std::string_view(text) : swapped;
    for (const Split& split : splits) {
      next.clear();
      for (const TextRange& word : words) {
        pieces.clear();
        find_pieces(split, text, classified, word, matches, pieces);
        join_pieces(split.behavior, pieces, next);
      }
      words.swap(next);
    }
  };
  run(before_);
  space(text, words, place);
  run(after_);
}

}  // namespace r1
