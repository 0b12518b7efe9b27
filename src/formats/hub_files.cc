#include "formats/hub_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "base/ascii.h"
#include "base/byte_text.h"
#include "base/error.h"
#include "formats/shown.h"

namespace r1 {
namespace {

// A list of more files is not a model's.
constexpr size_t kMostFiles = 100'000;
constexpr int64_t kLargestFile = int64_t{1} << 50;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// Files that r1 reads from a Hugging Face directory besides the weights, and those that tell a person what the
// model is.
bool is_wanted_beside_weights(std::string_view path) {
  constexpr std::string_view kNames[] = {"config.json",         "generation_config.json",
                                         "tokenizer.json",      "tokenizer_config.json",
                                         "added_tokens.json",   "special_tokens_map.json",
                                         "chat_template.jinja", "chat_template.json",
                                         "README.md",           "LICENSE",
                                         "LICENSE.txt",         "LICENSE.md"};
  return std::ranges::find(kNames, path) != std::end(kNames) ||
         (path.starts_with("additional_chat_templates/") && path.ends_with(".jinja"));
}

HubFile read_file_entry(const Json& entry) {
  HubFile file;
  const Json& name = entry.at("rfilename");
  file.path = name.string();
  check_hub_path(file.path, name.source());
  if (const Json* size = entry.find("size"); size != nullptr && !size->is_null()) {
    file.size = size->integer();
    if (file.size < 0 || file.size > kLargestFile) size->fail("is no size of a file");
  }
  const Json* lfs = entry.find("lfs");
  if (lfs != nullptr && lfs->is_object()) {
    const Json& hash = lfs->at("sha256");
    file.hash = hash.string();
    if (!is_hex(file.hash, 64)) hash.fail("is no SHA-256");
    const Json& size = lfs->at("size");
    if (file.size >= 0 && size.integer() != file.size)
      size.fail(fmt::format("is {}, but the file's size is {}", size.integer(), file.size));
    file.size = size.integer();
    if (file.size < 0 || file.size > kLargestFile) size.fail("is no size of a file");
  } else if (const Json* blob = entry.find("blobId"); blob != nullptr && !blob->is_null()) {
    file.hash = blob->string();
    if (!is_hex(file.hash, 40)) blob->fail("is no name of a git object");
  }
  return file;
}

void check_no_conflicts(const std::vector<HubFile>& files, const std::string& source) {
  std::set<std::string_view> names, folders;
  for (const HubFile& f : files) {
    if (!names.insert(f.path).second) throw Error(fmt::format("{}: lists {} twice", source, shown(f.path)));
    for (size_t at = f.path.find('/'); at != std::string::npos; at = f.path.find('/', at + 1))
      folders.insert(std::string_view(f.path).substr(0, at));
  }
  for (const HubFile& f : files) {
    if (folders.contains(f.path))
      throw Error(fmt::format("{}: {} is both a file and a folder", source, shown(f.path)));
  }
}

// "-00002-of-00003": returns {2, 3} and removes it from `stem`; {1, 1} if it is not there.
std::pair<int64_t, int64_t> take_piece(std::string& stem) {
  constexpr size_t kDigits = 5, kLength = 1 + kDigits + 4 + kDigits;
  if (stem.size() <= kLength) return {1, 1};
  const std::string_view tail = std::string_view(stem).substr(stem.size() - kLength);
  if (tail.front() != '-' || tail.substr(1 + kDigits, 4) != "-of-") return {1, 1};
  int64_t number[2] = {};
  for (int i = 0; i < 2; ++i) {
    const std::string_view digits = tail.substr(i == 0 ? 1 : 1 + kDigits + 4, kDigits);
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + kDigits, number[i]);
    if (problem != std::errc() || end != digits.data() + kDigits) return {1, 1};
  }
  if (number[0] < 1 || number[0] > number[1]) return {1, 1};
  stem.resize(stem.size() - kLength);
  return {number[0], number[1]};
}

// True for "Q4_K_M", "IQ2_XXS", "BF16", "q8_0" and their like.
bool is_type_name(std::string_view text) {
  std::string upper;
  for (const char c : text) upper += to_upper(c);
  constexpr std::string_view kPlain[] = {"F16", "F32", "BF16", "FP16", "FP32", "MXFP4"};
  if (std::ranges::find(kPlain, upper) != std::end(kPlain)) return true;
  std::string_view rest = upper;
  if (rest.starts_with("I") || rest.starts_with("T")) rest.remove_prefix(1);
  return rest.size() >= 4 && rest[0] == 'Q' && is_digit(rest[1]) && rest[2] == '_' &&
         std::ranges::all_of(rest, [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

std::string quant_of(const std::string& stem) {
  std::string_view rest = stem;
  size_t cut = rest.find_last_of("-.");
  if (cut == std::string_view::npos || !is_type_name(rest.substr(cut + 1)))
    return is_type_name(rest) ? std::string(rest) : stem;
  // "UD-Q2_K_XL" is another mixture than "Q2_K_XL".
  if (rest.substr(0, cut).ends_with("-UD")) cut -= 3;
  return stem.substr(cut + 1);
}

std::string choices_text(const HubListing& listing, const HubName& name,
                         const std::vector<GgufChoice>& choices) {
  std::vector<std::string> texts;
  for (const GgufChoice& choice : choices) {
    int64_t bytes = 0;
    for (const HubFile& f : listing.files) {
      if (std::ranges::find(choice.paths, f.path) != choice.paths.end())
        bytes += std::max<int64_t>(0, f.size);
    }
    texts.push_back(fmt::format("{}:{} ({})", name.repo, choice.quant, byte_text(bytes)));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

HubSelection select_gguf(const HubListing& listing, const HubName& name,
                         const std::vector<GgufChoice>& choices) {
  if (choices.empty())
    throw Error(fmt::format("{}: has no GGUF files; leave out :{}", name.repo, name.quant));
  const GgufChoice* choice = name.quant.empty() ? nullptr : find_quant(choices, name.quant);
  if (name.quant.empty() && choices.size() == 1) choice = &choices.front();
  if (choice == nullptr && name.quant.empty())
    throw Error(fmt::format("{}: has several GGUF models; name one: {}", name.repo,
                            choices_text(listing, name, choices)));
  if (choice == nullptr)
    throw Error(fmt::format("{}: has no quantisation {}; it has {}", name.repo, name.quant,
                            choices_text(listing, name, choices)));
  if (std::ssize(choice->paths) != choice->pieces)
    throw Error(fmt::format("{}: {} is in {} pieces, of which the list has {}", name.repo, choice->quant,
                            choice->pieces, choice->paths.size()));
  HubSelection out;
  out.gguf = choice->paths.front();
  for (const HubFile& f : listing.files) {
    if (f.path == "README.md" || std::ranges::find(choice->paths, f.path) != choice->paths.end())
      out.files.push_back(f);
  }
  return out;
}

}  // namespace

void check_hub_path(std::string_view path, const std::string& source) {
  constexpr size_t kLongestPath = 1024, kLongestPart = 255;
  const auto refuse = [&](const char* why) {
    throw Error(fmt::format("{}: the file name {} {}; the list is refused", source, shown(path), why));
  };
  if (path.empty()) refuse("is empty");
  if (path.size() > kLongestPath) refuse("is too long");
  if (path.front() == '/') refuse("is absolute");
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == '\\')
      refuse("has a control character or a backslash");
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") refuse("leaves the model's folder");
    if (part.size() > kLongestPart) refuse("is too long");
    begin = end + 1;
  }
}

HubListing read_hub_listing(const Json& json) {
  HubListing out;
  const Json& commit = json.at("sha");
  out.commit = commit.string();
  if (!is_hub_commit(out.commit)) commit.fail("is no commit");
  const Json& siblings = json.at("siblings");
  if (siblings.size() > kMostFiles) siblings.fail(fmt::format("has more than {} files", kMostFiles));
  for (const Json& entry : siblings.items()) out.files.push_back(read_file_entry(entry));
  check_no_conflicts(out.files, json.source());
  return out;
}

std::vector<GgufChoice> gguf_choices(const std::vector<std::string>& paths) {
  std::map<std::string, GgufChoice> found;
  std::vector<std::string> sorted = paths;
  std::ranges::sort(sorted);
  for (const std::string& path : sorted) {
    if (!path.ends_with(".gguf")) continue;
    std::string stem = path.substr(0, path.size() - 5);
    const auto [piece, pieces] = take_piece(stem);
    const std::string name = stem.substr(stem.rfind('/') == std::string::npos ? 0 : stem.rfind('/') + 1);
    if (name.starts_with("mmproj") || name.find("imatrix") != std::string::npos) continue;
    GgufChoice& choice = found[fmt::format("{}|{}", stem, pieces)];
    choice.quant = quant_of(name);
    choice.paths.push_back(path);
    choice.pieces = pieces;
  }
  std::vector<GgufChoice> out;
  std::map<std::string, int> times;
  for (auto& [stem, choice] : found) ++times[choice.quant];
  for (auto& [stem, choice] : found) {
    // Two models of one type in a repository are told apart by their whole names.
    if (times[choice.quant] > 1) {
      const std::string path = stem.substr(0, stem.rfind('|'));
      choice.quant = path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
    }
    out.push_back(std::move(choice));
  }
  std::ranges::sort(out, {}, &GgufChoice::quant);
  return out;
}

const GgufChoice* find_quant(const std::vector<GgufChoice>& choices, std::string_view quant) {
  const auto at =
      std::ranges::find_if(choices, [&](const GgufChoice& c) { return equal_ignoring_case(c.quant, quant); });
  return at == choices.end() ? nullptr : &*at;
}

HubSelection select_files(const HubListing& listing, const HubName& name) {
  std::vector<std::string> paths;
  for (const HubFile& f : listing.files) paths.push_back(f.path);
  const std::vector<GgufChoice> choices = gguf_choices(paths);
  const auto has = [&](std::string_view path) { return std::ranges::find(paths, path) != paths.end(); };
  const bool single = has(kSingle), sharded = has(kIndex);
  if (!name.quant.empty() || (!single && !sharded && !choices.empty()))
    return select_gguf(listing, name, choices);
  if (!single && !sharded) {
    const bool pickled = std::ranges::any_of(paths, [](const std::string& p) {
      return p.ends_with(".bin") || p.ends_with(".pt") || p.ends_with(".pth");
    });
    throw Error(
        fmt::format("{}: has no weights that r1 reads (model.safetensors, its index, or .gguf){}", name.repo,
                    has("adapter_config.json") ? ": it is an adapter, not a model"
                    : pickled ? ": its weights are pickled Python; ask for a repository with safetensors"
                              : ""));
  }
  if (!has("config.json"))
    throw Error(
        fmt::format("{}: has weights and no config.json, so r1 cannot know their architecture", name.repo));
  HubSelection out;
  if (!single) out.index = kIndex;
  for (const HubFile& f : listing.files) {
    if (is_wanted_beside_weights(f.path) || f.path == (single ? kSingle : kIndex)) out.files.push_back(f);
  }
  return out;
}

std::vector<HubFile> select_shards(const Json& index, const HubListing& listing) {
  std::set<std::string> names;
  for (const auto& [tensor, shard] : index.at("weight_map").members()) {
    check_hub_path(shard.string(), index.source());
    names.insert(shard.string());
  }
  std::vector<HubFile> out;
  for (const std::string& name : names) {
    const auto at = std::ranges::find(listing.files, name, &HubFile::path);
    if (at == listing.files.end())
      throw Error(fmt::format("{}: names {}, which the model does not have", index.source(), shown(name)));
    out.push_back(*at);
  }
  if (out.empty()) throw Error(fmt::format("{}: names no files", index.source()));
  return out;
}

}  // namespace r1
