#include "reward/language.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "base/ascii.h"
#include "base/error.h"
#include "base/text_util.h"
#include "text/think.h"
#include "text/utf8.h"

namespace r1 {
namespace {

struct Language {
  std::string_view name;
  std::array<UScriptCode, 3> scripts;  // unused elements are USCRIPT_INVALID_CODE
};

constexpr UScriptCode kNoScript = USCRIPT_INVALID_CODE;
constexpr Language of(std::string_view name, UScriptCode script, UScriptCode second = kNoScript,
                      UScriptCode third = kNoScript) {
  return {name, {script, second, third}};
}
constexpr auto kLanguages = std::to_array<Language>({
    of("ar", USCRIPT_ARABIC),
    of("bn", USCRIPT_BENGALI),
    of("de", USCRIPT_LATIN),
    of("el", USCRIPT_GREEK),
    of("en", USCRIPT_LATIN),
    of("es", USCRIPT_LATIN),
    of("fr", USCRIPT_LATIN),
    of("he", USCRIPT_HEBREW),
    of("hi", USCRIPT_DEVANAGARI),
    of("it", USCRIPT_LATIN),
    of("ja", USCRIPT_HAN, USCRIPT_HIRAGANA, USCRIPT_KATAKANA),
    of("ka", USCRIPT_GEORGIAN),
    of("ko", USCRIPT_HANGUL, USCRIPT_HAN),
    of("nl", USCRIPT_LATIN),
    of("pt", USCRIPT_LATIN),
    of("ru", USCRIPT_CYRILLIC),
    of("ta", USCRIPT_TAMIL),
    of("te", USCRIPT_TELUGU),
    of("th", USCRIPT_THAI),
    of("uk", USCRIPT_CYRILLIC),
    of("zh", USCRIPT_HAN),
});

// The most frequent words of languages that share the Latin script, in lower case.
struct FrequentWords {
  std::string_view language, words;
};
constexpr auto kFrequent = std::to_array<FrequentWords>({
    {"en",
     "the of and to in is that it for was on are as with be this have from or had by not but what all were "
     "we when "
     "your can there an which their if will each about how up out them then these so some would into has "
     "more two "
     "first need now let get use find since must only also because answer wait number check equals"},
    {"fr",
     "le la les de des un en tous et est une dans que qui pour pas sur au avec ce il elle sont nous vous "
     "mais ou plus tout cette "
     "aux ses son par si donc alors comme du nombre faut peut nombres réponse"},
    {"de",
     "der die das in alle aller und ist nicht ein eine zu den von mit sich auf für dem des im als auch es an "
     "werden aus er hat "
     "dass sie nach wird bei einer um am sind noch wie einem über so zum wir ich aber oder wenn also zahl "
     "antwort"},
    {"es",
     "el la los las de todos y es en un una que por con no para como más pero sus le ya este sí porque esta "
     "entre cuando muy "
     "sin sobre también hasta hay donde entonces del se al lo número respuesta"},
    {"it",
     "il la lo gli in le e è di che un una per non con sono del della dei si da al come più ma anche nel "
     "questo questa "
     "quindi allora numero abbiamo risposta"},
    {"pt",
     "o a os as e é de um do da em um uma que não para com por mais dos das se na no como mas ao são então "
     "também "
     "temos número resposta"},
    {"nl",
     "de het een en van is dat niet in op te zijn voor met die aan er om dan ook als maar we wordt bij door "
     "naar "
     "dus deze dit getal antwoord"},
});

// Maps a word to the languages in which it is frequent: bit i is kFrequent[i].
const std::map<std::string, uint32_t, std::less<>>& frequent_words() {
  static const auto table = [] {
    std::map<std::string, uint32_t, std::less<>> out;
    for (size_t i = 0; i < kFrequent.size(); ++i) {
      std::string_view rest = kFrequent[i].words;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find(' '), rest.size());
        out[std::string(rest.substr(0, end))] |= 1U << i;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    return out;
  }();
  return table;
}

bool is_spaceless(UScriptCode script) {
  constexpr auto kSpaceless =
      std::to_array<UScriptCode>({USCRIPT_HAN, USCRIPT_HIRAGANA, USCRIPT_KATAKANA, USCRIPT_THAI, USCRIPT_LAO,
                                  USCRIPT_KHMER, USCRIPT_MYANMAR});
  return std::ranges::find(kSpaceless, script) != kSpaceless.end();
}

struct Word {
  UScriptCode script = kNoScript;
  int64_t letters = 0;
  std::string text;  // in lower case; set for Latin words only
};

UScriptCode script_of(char32_t c) {
  UErrorCode status = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(static_cast<UChar32>(c), &status);
  return U_SUCCESS(status) ? script : USCRIPT_UNKNOWN;
}

// Reads the words of a text, line by line.
class WordReader {
 public:
  explicit WordReader(std::string_view text) : rest_(text) {}

  // Returns the words of the next line, or nothing at the end of the text.
  std::optional<std::vector<Word>> line() {
    if (rest_.empty()) return std::nullopt;
    std::vector<Word> words;
    Word word;
    const auto end_word = [&] {
      if (word.letters > (is_spaceless(word.script) ? 0 : 1)) words.push_back(std::move(word));
      word = {};
    };
    while (!rest_.empty()) {
      const Utf8Step step = decode_utf8(rest_, 0);
      const auto code = static_cast<UChar32>(step.code);
      const bool letter = u_isalpha(code) != 0;
      const bool mark = (U_GET_GC_MASK(code) & U_GC_M_MASK) != 0;
      if (step.code == '\\' || step.code == '<') {
        end_word();
        skip_markup();
        continue;
      }
      rest_.remove_prefix(static_cast<size_t>(step.size));
      if (step.code == '\n') break;
      if (!letter && !(mark && word.letters > 0)) {
        end_word();
        continue;
      }
      const UScriptCode script = script_of(step.code);
      const bool common = script == USCRIPT_COMMON || script == USCRIPT_INHERITED;
      if (!common && script != word.script) {
        end_word();
        word.script = script;
      }
      word.letters += letter ? 1 : 0;
      if (script == USCRIPT_LATIN) append_utf8(word.text, static_cast<char32_t>(u_tolower(code)));
    }
    end_word();
    return words;
  }

 private:
  // Skips a LaTeX command or a tag, or else one character.
  void skip_markup() {
    size_t end = 1;
    if (rest_[0] == '\\') {
      while (end < rest_.size() && is_letter(rest_[end])) ++end;
    } else {
      constexpr size_t kLongestTag = 32;
      const size_t close = rest_.substr(0, kLongestTag).find('>');
      const std::string_view inside = close == std::string_view::npos ? "" : rest_.substr(1, close - 1);
      const auto is_tag_character = [](char c) { return is_letter(c) || c == '/' || c == '_' || c == '-'; };
      if (!inside.empty() && std::ranges::all_of(inside, is_tag_character)) end = close + 1;
    }
    rest_.remove_prefix(end);
  }

  std::string_view rest_;
};

enum class Vote : uint8_t { none, target, other };

// Returns the vote of a word in the target's script, if it is a frequent word.
Vote vote_of(const Word& word, uint32_t target) {
  const auto at = frequent_words().find(word.text);
  if (target == 0 || at == frequent_words().end()) return Vote::none;
  if ((at->second & target) == 0) return Vote::other;
  return at->second == target ? Vote::target : Vote::none;
}

// Gives every word without a vote the vote of the nearest word before it, or else of the nearest word after
// it.
void spread(std::vector<Vote>& votes) {
  Vote last = Vote::none;
  for (Vote& vote : votes) {
    if (vote == Vote::none) vote = last;
    last = vote;
  }
  for (auto vote = votes.rbegin(); vote != votes.rend(); ++vote) {
    if (*vote == Vote::none) *vote = last;
    last = *vote;
  }
}

}  // namespace

const std::vector<std::string>& language_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Language& language : kLanguages) out.emplace_back(language.name);
    return out;
  }();
  return names;
}

LanguageCount count_language(std::string_view text, std::string_view language) {
  const auto row = std::ranges::find(kLanguages, language, &Language::name);
  if (row == kLanguages.end()) {
    const std::string near = nearest_name(language, language_names());
    throw Error(fmt::format("unknown language {} ({})", language,
                            near.empty() ? fmt::format("known: {}", fmt::join(language_names(), ", "))
                                         : fmt::format("did you mean {}?", near)));
  }
  const auto frequent = std::ranges::find(kFrequent, language, &FrequentWords::language);
  const uint32_t target = frequent == kFrequent.end() ? 0 : 1U << (frequent - kFrequent.begin());
  LanguageCount count;
  WordReader reader(text);
  while (const auto words = reader.line()) {
    std::vector<Vote> votes;
    for (const Word& word : *words) {
      const bool ours = std::ranges::find(row->scripts, word.script) != row->scripts.end();
      if (!ours) {
        count.words += is_spaceless(word.script) ? static_cast<double>((word.letters + 1) / 2) : 1;
      } else if (is_spaceless(word.script)) {
        const auto n = static_cast<double>((word.letters + 1) / 2);
        count.words += n;
        count.in_target += n;
      } else {
        votes.push_back(vote_of(word, target));
      }
    }
    spread(votes);
    count.words += static_cast<double>(votes.size());
    count.in_target +=
        static_cast<double>(std::ranges::count_if(votes, [](Vote v) { return v != Vote::other; }));
  }
  return count;
}

double language_consistency(std::string_view response, std::string_view language) {
  const auto thought = find_thought(response);
  const std::string_view text =
      thought ? response.substr(thought->begin, thought->end - thought->begin) : response;
  return count_language(text, language).share();
}

}  // namespace r1
