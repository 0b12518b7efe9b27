#include "text/gguf_tokenizer_write.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "text/chat_templates.h"
#include "text/configured_tokens.h"
#include "text/gguf_pretokenizers.h"
#include "text/gguf_sentencepiece_write.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace r1 {
namespace {

// The values of tokenizer.ggml.token_type.
constexpr int32_t kTypeNormal = 1, kTypeUnknown = 2, kTypeControl = 3, kTypeUserDefined = 4, kTypeUnused = 5,
                  kTypeByte = 6;

// "<0x41>"
bool is_byte_piece(std::string_view token) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') && is_digit(token[3]) &&
         is_digit(token[4]);
}

class GgufTokenizerWriter {
 public:
  GgufTokenizerWriter(const GgufTokenizerInput& input, GgufKeys& keys)
      : input_(input),
        keys_(keys),
        file_(input.directory / "tokenizer.json"),
        json_(read_json(file_)),
        tokenizer_(Tokenizer::load(input.directory)),
        pieces_(is_sentencepiece(json_)) {}

  std::vector<std::string> write() {
    if (!pieces_) write_kind();
    write_tokens();
    if (pieces_) {
      write_pieces();
    } else {
      write_merges();
    }
    write_special();
    write_templates();
    return std::move(notes_);
  }

 private:
  void note(const std::string& text) { notes_.push_back(fmt::format("{}: {}", file_.string(), text)); }
  void write_kind();
  void write_pieces();
  int32_t type_of(int32_t id, const std::string& token, const std::set<std::string>& added) const;
  std::set<std::string> added_contents();
  void write_tokens();
  void write_merges();
  void write_special();
  void write_around(int32_t bos, int32_t eos);
  void write_templates();
  int32_t id_in_model(const std::string& token) const;
  void set_id(std::string_view name, int32_t id);

  const GgufTokenizerInput& input_;
  GgufKeys& keys_;
  std::filesystem::path file_;
  Json json_;
  Tokenizer tokenizer_;
  bool pieces_;  // SentencePiece's BPE
  std::vector<std::string> tokens_;
  std::vector<int32_t> types_;
  std::vector<std::string> notes_;
};

void GgufTokenizerWriter::write_kind() {
  const std::string_view name = gguf_pre_tokenizer_name(json_);
  if (name.empty()) {
    throw Error(fmt::format(
        "{}: pre_tokenizer, normalizer and model.ignore_merges are together none of those that GGUF has a "
        "name for ({}), so "
        "no other program would cut a text as this one does: give --no-tokenizer to write the weights alone",
        file_.string(), fmt::join(gguf_pre_tokenizer_names(), ", ")));
  }
  keys_.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", name);
}

// The added tokens of tokenizer.json and of the other files. GGUF finds each in the raw text and takes
// nothing beside it.
std::set<std::string> GgufTokenizerWriter::added_contents() {
  std::set<std::string> out;
  std::vector<std::string> beside;
  if (const Json* added = json_.find("added_tokens"); added != nullptr && !added->is_null()) {
    for (const Json& token : added->items()) {
      const std::string& content = token.get_string("content");
      out.insert(content);
      if (token.get_bool_or("lstrip", false) || token.get_bool_or("rstrip", false) ||
          token.get_bool_or("single_word", false))
        beside.push_back(shown(content));
    }
  }
  for (const AddedToken& token : configured_tokens(input_.directory)) out.insert(token.content);
  if (!beside.empty()) {
    note(fmt::format("lstrip, rstrip and single_word of {} are not kept: GGUF has no place for them",
                     fmt::join(beside, ", ")));
  }
  return out;
}

int32_t GgufTokenizerWriter::type_of(int32_t id, const std::string& token,
                                     const std::set<std::string>& added) const {
  const bool is_added = added.contains(token);
  if (pieces_ && token == json_.at("model").get_string_or("unk_token", "")) return kTypeUnknown;
  if (pieces_ && !is_added && is_byte_piece(token)) return kTypeByte;
  if (tokenizer_.is_special(id)) return kTypeControl;
  return is_added ? kTypeUserDefined : kTypeNormal;
}

void GgufTokenizerWriter::write_tokens() {
  const std::set<std::string> added = added_contents();
  std::vector<std::string> named;
  for (int64_t id = 0; id < input_.vocab_size; ++id) {
    const auto at = static_cast<int32_t>(id);
    tokens_.push_back(tokenizer_.token_of(at));
    const bool unused = tokens_.back().empty();
    types_.push_back(unused ? kTypeUnused : type_of(at, tokens_.back(), added));
    named.push_back(unused ? fmt::format("[PAD{}]", id) : tokens_.back());
  }
  if (tokenizer_.vocab_size() > input_.vocab_size) {
    note(fmt::format("its tokens from {} to {} are left out: the model has {}", input_.vocab_size,
                     tokenizer_.vocab_size() - 1, input_.vocab_size));
  }
  keys_.set("tokenizer.ggml.tokens", named).set("tokenizer.ggml.token_type", types_);
}

void GgufTokenizerWriter::write_pieces() {
  std::vector<bool> can_merge;
  for (const int32_t type : types_) can_merge.push_back(type == kTypeNormal);
  const GgufPieces pieces = gguf_pieces(json_, tokens_, can_merge, file_.string());
  keys_.set("tokenizer.ggml.model", "llama").set("tokenizer.ggml.pre", "default");
  keys_.set("tokenizer.ggml.scores", pieces.scores);
  keys_.set("tokenizer.ggml.add_space_prefix", pieces.space_prefix);
}

void GgufTokenizerWriter::write_merges() {
  std::vector<std::string> merges;
  const Json& list = json_.at("model").at("merges");
  for (const Json& merge : list.items()) {
    if (merge.is_array()) {
      merges.push_back(fmt::format("{} {}", merge.at(0).string(), merge.at(1).string()));
    } else if (!merge.string().starts_with("#version")) {
      merges.push_back(merge.string());
    }
  }
  keys_.set("tokenizer.ggml.merges", merges);
}

// -1: the model has no such token.
int32_t GgufTokenizerWriter::id_in_model(const std::string& token) const {
  if (token.empty()) return -1;
  const std::optional<int32_t> id = tokenizer_.id_of(token);
  return id && *id < input_.vocab_size ? *id : -1;
}

void GgufTokenizerWriter::set_id(std::string_view name, int32_t id) {
  if (id >= 0) keys_.set(fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<uint32_t>(id));
}

void GgufTokenizerWriter::write_special() {
  const TokenizerConfig config = load_tokenizer_config(input_.directory);
  const int32_t own_bos = id_in_model(config.bos);
  const int32_t bos = own_bos >= 0 || config.says_bos ? own_bos : input_.bos;
  int32_t eos = id_in_model(config.eos);
  if (eos < 0 && !input_.stops.empty()) eos = input_.stops.front();
  set_id("bos", bos);
  set_id("eos", eos);
  set_id("padding", id_in_model(config.pad));
  set_id("unknown", id_in_model(json_.at("model").get_string_or("unk_token", "")));
  // Further tokens that end an answer: GGUF has the end of a turn and the end of a message.
  std::vector<int32_t> others;
  for (const int32_t stop : input_.stops) {
    if (stop != eos) others.push_back(stop);
  }
  constexpr std::string_view kPlaces[] = {"eot", "eom"};
  for (size_t i = 0; i < std::min(others.size(), std::size(kPlaces)); ++i) set_id(kPlaces[i], others[i]);
  if (others.size() > std::size(kPlaces)) {
    note(fmt::format(
        "{} tokens end an answer; GGUF has a place for 3 of them, so token {} and what follows it do not",
        others.size() + 1, others[std::size(kPlaces)]));
  }
  write_around(bos, eos);
}

// Writes which tokens the post-processor puts before and after a text.
void GgufTokenizerWriter::write_around(int32_t bos, int32_t eos) {
  const std::vector<int32_t> plain = tokenizer_.encode("a", false), whole = tokenizer_.encode("a", true);
  const auto at = std::ranges::search(whole, plain);
  const std::vector<int32_t> before(whole.begin(), at.begin()), after(at.end(), whole.end());
  const auto is_only = [](const std::vector<int32_t>& tokens, int32_t token) {
    return tokens.size() == 1 && tokens.front() == token;
  };
  const bool add_bos = is_only(before, bos), add_eos = is_only(after, eos);
  if ((!before.empty() && !add_bos) || (!after.empty() && !add_eos)) {
    note(
        "the post-processor adds other tokens than the begin and the end of a text, which GGUF cannot say: a "
        "raw prompt gets "
        "none of them");
  }
  keys_.set("tokenizer.ggml.add_bos_token", add_bos).set("tokenizer.ggml.add_eos_token", add_eos);
}

void GgufTokenizerWriter::write_templates() {
  std::vector<std::string> others;
  for (const ChatTemplates::Named& named : ChatTemplates::named(input_.directory)) {
    if (named.name == "default") {
      keys_.set("tokenizer.chat_template", named.text);
    } else {
      keys_.set("tokenizer.chat_template." + named.name, named.text);
      others.push_back(named.name);
    }
  }
  if (!others.empty()) keys_.set("tokenizer.chat_templates", others);
}

}  // namespace

std::vector<std::string> write_gguf_tokenizer(const GgufTokenizerInput& input, GgufKeys& keys) {
  return GgufTokenizerWriter(input, keys).write();
}

}  // namespace r1
