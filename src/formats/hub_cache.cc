#include "formats/hub_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "base/file_error.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

std::string hub_variable(const Environment& environment, const char* name) {
  const char* value = environment ? environment(name) : std::getenv(name);
  return value == nullptr ? "" : std::string(trim(value));
}

// "~/x" as Python's expanduser reads it.
fs::path hub_path_of(const Environment& environment, const std::string& text) {
  if (text == "~" || text.starts_with("~/")) return hub_variable(environment, "HOME") + text.substr(1);
  return text;
}

std::string folder_of_repo(const std::string& repo) {
  std::string out = "models--";
  for (const char c : repo) out += c == '/' ? "--" : std::string(1, c);
  return out;
}

// Creates the folders of `below` one by one under `root`. Throws Error if one of them is a link or a file.
fs::path create_plain_folders(const fs::path& root, const fs::path& below) {
  fs::path at = root;
  for (const fs::path& part : below) {
    at /= part;
    std::error_code problem;
    const fs::file_status status = fs::symlink_status(at, problem);
    if (status.type() == fs::file_type::directory) continue;
    if (fs::exists(status)) throw Error(fmt::format("{}: is in the way of a folder; remove it", at.string()));
    if (!fs::create_directory(at, problem) && problem)
      throw Error(fmt::format("{}: cannot be created ({})", at.string(), problem.message()));
  }
  return at;
}

// Returns the commit that a revision means in the cache; "" if none.
std::string commit_of(const HubRepoFolder& folder, const HubName& name) {
  const std::string revision = name.revision_or_main();
  std::error_code none;
  if (is_hub_commit(revision)) return fs::is_directory(folder.snapshot(revision), none) ? revision : "";
  if (fs::is_regular_file(folder.ref(revision), none)) {
    const std::string commit(trim(read_file(folder.ref(revision))));
    return is_hub_commit(commit) ? commit : "";
  }
  if (!name.revision.empty()) return "";
  // Without a ref: the only snapshot, such as one that was pulled by its commit.
  std::string only;
  for (const auto& entry : fs::directory_iterator(folder.path() / "snapshots", none)) {
    if (!only.empty()) return "";
    only = entry.path().filename().string();
  }
  return only;
}

// Returns the files below a snapshot, relative to it.
std::vector<std::string> files_below(const fs::path& snapshot) {
  std::vector<std::string> out;
  std::error_code problem;
  fs::recursive_directory_iterator at(snapshot, problem), end;
  while (!problem && at != end) {
    if (!at->is_directory(problem)) out.push_back(at->path().lexically_relative(snapshot).string());
    at.increment(problem);
  }
  return out;
}

}  // namespace

fs::path hub_home_folder(const Environment& environment) {
  const std::string home = hub_variable(environment, "HF_HOME");
  if (!home.empty()) return hub_path_of(environment, home);
  const std::string cache = hub_variable(environment, "XDG_CACHE_HOME");
  if (!cache.empty()) return hub_path_of(environment, cache) / "huggingface";
  const std::string user = hub_variable(environment, "HOME");
  if (user.empty()) throw Error("HOME is not set: HF_HOME says where models are kept");
  return fs::path(user) / ".cache" / "huggingface";
}

fs::path hub_cache_folder(const Environment& environment) {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    const std::string cache = hub_variable(environment, name);
    if (!cache.empty()) return hub_path_of(environment, cache);
  }
  return hub_home_folder(environment) / "hub";
}

HubRepoFolder::HubRepoFolder(fs::path cache, const std::string& repo)
    : path_(cache / folder_of_repo(repo)), locks_(cache / ".locks" / folder_of_repo(repo)) {}

void HubRepoFolder::create() const {
  for (const fs::path& folder : {path_ / "blobs", path_ / "snapshots", path_ / "refs", locks_}) {
    std::error_code problem;
    fs::create_directories(folder, problem);
    if (problem) throw Error(fmt::format("{}: cannot be created ({})", folder.string(), problem.message()));
  }
}

void link_into_snapshot(const HubRepoFolder& folder, const std::string& commit, const HubFile& file) {
  check_hub_path(file.path, "a file of the model");
  const fs::path path(file.path);
  const fs::path parent =
      create_plain_folders(folder.path() / "snapshots", fs::path(commit) / path.parent_path());
  fs::path target = fs::path("..") / "..";
  for ([[maybe_unused]] const fs::path& part : path.parent_path()) target /= "..";
  target = target / "blobs" / file.hash;
  const fs::path link = parent / path.filename();
  std::error_code problem;
  if (fs::is_symlink(fs::symlink_status(link, problem)) && fs::read_symlink(link, problem) == target) return;
  if (fs::is_directory(fs::symlink_status(link, problem)))
    throw Error(fmt::format("{}: is a folder in the way of a file; remove it", link.string()));
  const fs::path pending = link.string() + ".r1-tmp";
  fs::remove(pending, problem);
  fs::create_symlink(target, pending, problem);
  if (problem)
    throw Error(fmt::format("{}: no symbolic link can be made ({})", link.string(), problem.message()));
  fs::rename(pending, link, problem);
  if (problem) throw Error(fmt::format("{}: cannot be written ({})", link.string(), problem.message()));
}

bool is_whole_checkpoint(const fs::path& folder) {
  std::error_code none;
  const auto is_file = [&](const fs::path& path) { return fs::is_regular_file(path, none); };
  if (!is_file(folder / "config.json")) return false;
  if (is_file(folder / "model.safetensors")) return true;
  const fs::path index = folder / "model.safetensors.index.json";
  if (!is_file(index)) return false;
  try {
    const Json json = read_json(index);
    for (const auto& [tensor, shard] : json.at("weight_map").members()) {
      if (!is_file(folder / shard.string())) return false;
    }
  } catch (const Error&) {
    return false;
  }
  return true;
}

std::optional<fs::path> find_in_hub_cache(const HubName& name, const fs::path& cache) {
  const HubRepoFolder folder(cache, name.repo);
  const std::string commit = commit_of(folder, name);
  if (commit.empty()) return std::nullopt;
  const fs::path snapshot = folder.snapshot(commit);
  if (name.quant.empty() && is_whole_checkpoint(snapshot)) return snapshot;
  std::vector<std::string> present;
  for (const std::string& path : files_below(snapshot)) {
    std::error_code none;
    if (fs::is_regular_file(snapshot / path, none)) present.push_back(path);
  }
  std::vector<GgufChoice> choices = gguf_choices(present);
  std::erase_if(choices, [](const GgufChoice& c) { return std::ssize(c.paths) != c.pieces; });
  if (!name.quant.empty()) {
    const GgufChoice* choice = find_quant(choices, name.quant);
    return choice == nullptr ? std::nullopt : std::optional(snapshot / choice->paths.front());
  }
  if (choices.empty()) return std::nullopt;
  if (choices.size() == 1) return snapshot / choices.front().paths.front();
  std::string list;
  for (const GgufChoice& choice : choices)
    list += fmt::format("{}{}:{}", list.empty() ? "" : ", ", name.repo, choice.quant);
  throw Error(fmt::format("{}: several GGUF models of it are in the cache; name one: {}", name.text(), list));
}

HubLock::HubLock(const fs::path& path, const std::function<void()>& waiting,
                 const std::function<bool()>& stop) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_with_errno(path, "opening it");
  bool said = false;
  while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return;  // a file system without locks
    if (!said && waiting) waiting();
    said = true;
    if (stop && stop()) {
      ::close(fd_);
      throw HttpError(HttpError::Kind::stopped, "it was stopped while it waited for another program");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

bool HubLock::is_held(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return held;
}

HubLock::~HubLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace r1
