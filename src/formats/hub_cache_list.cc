// formats/hub_cache_list.cc: the models that the cache holds, and how one is removed.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/hub_cache.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

// "models--org--name" -> "org/name". A name has no "--" of its own.
std::optional<std::string> repo_of_folder(const std::string& folder) {
  constexpr std::string_view kPrefix = "models--";
  if (!folder.starts_with(kPrefix)) return std::nullopt;
  const std::string rest = folder.substr(kPrefix.size());
  const size_t cut = rest.find("--");
  if (cut == std::string::npos) return std::nullopt;
  const std::string repo = rest.substr(0, cut) + "/" + rest.substr(cut + 2);
  return read_hub_name(repo) ? std::optional(repo) : std::nullopt;
}

struct SnapshotFile {
  std::string path;  // below the snapshot
  std::string hash;  // of the blob that it links to; "" if it is no link to a blob
  bool present = false;
  int64_t bytes = 0, used = 0;
};

struct Snapshot {
  std::string commit;
  std::vector<std::string> refs;
  std::vector<SnapshotFile> files;
};

SnapshotFile snapshot_file(const fs::path& snapshot, const fs::path& path) {
  SnapshotFile file;
  file.path = path.lexically_relative(snapshot).string();
  std::error_code none;
  if (fs::is_symlink(fs::symlink_status(path, none)))
    file.hash = fs::read_symlink(path, none).filename().string();
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
    file.present = true;
    file.bytes = info.st_size;
    file.used = std::max<int64_t>(info.st_atime, info.st_mtime);
  }
  return file;
}

std::multimap<std::string, std::string> refs_by_commit(const fs::path& refs) {
  std::multimap<std::string, std::string> out;
  std::error_code problem;
  fs::recursive_directory_iterator at(refs, problem), end;
  while (!problem && at != end) {
    if (at->is_regular_file(problem))
      out.emplace(std::string(trim(read_file(at->path()))), at->path().lexically_relative(refs).string());
    at.increment(problem);
  }
  return out;
}

std::vector<Snapshot> snapshots_of(const HubRepoFolder& folder) {
  std::vector<Snapshot> out;
  const auto refs = refs_by_commit(folder.path() / "refs");
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder.path() / "snapshots", none)) {
    Snapshot& s = out.emplace_back();
    s.commit = entry.path().filename().string();
    for (auto [at, end] = refs.equal_range(s.commit); at != end; ++at) s.refs.push_back(at->second);
    std::error_code problem;
    fs::recursive_directory_iterator at(entry.path(), problem), end;
    while (!problem && at != end) {
      if (!at->is_directory(problem)) s.files.push_back(snapshot_file(entry.path(), at->path()));
      at.increment(problem);
    }
  }
  std::ranges::sort(out, {}, &Snapshot::commit);
  return out;
}

std::vector<GgufChoice> choices_of(const Snapshot& snapshot) {
  std::vector<std::string> paths;
  for (const SnapshotFile& f : snapshot.files) paths.push_back(f.path);
  return gguf_choices(paths);
}

bool belongs_to(const GgufChoice& choice, const std::string& path) {
  return std::ranges::find(choice.paths, path) != choice.paths.end();
}

void add_models(const HubRepoFolder& folder, const std::string& repo, const Snapshot& s,
                std::vector<CachedModel>& out) {
  CachedModel model;
  model.name.repo = repo;
  const bool main = std::ranges::find(s.refs, kHubMain) != s.refs.end();
  model.name.revision = main ? "" : s.refs.empty() ? s.commit : s.refs.front();
  model.commit = s.commit;
  const std::vector<GgufChoice> choices = choices_of(s);
  const auto count = [](CachedModel& m, const SnapshotFile& f) {
    m.bytes += f.bytes;
    m.used = std::max(m.used, f.used);
    m.whole &= f.present;
  };
  CachedModel directory = model;
  directory.path = folder.snapshot(s.commit);
  bool config = false;
  for (const SnapshotFile& f : s.files) {
    config |= f.path == "config.json";
    if (std::ranges::none_of(choices, [&](const GgufChoice& c) { return belongs_to(c, f.path); }))
      count(directory, f);
  }
  if (config || choices.empty()) {
    directory.whole = directory.whole && is_whole_checkpoint(directory.path);
    out.push_back(directory);
  }
  for (const GgufChoice& choice : choices) {
    CachedModel gguf = model;
    gguf.name.quant = choice.quant;
    gguf.path = folder.snapshot(s.commit) / choice.paths.front();
    gguf.whole = std::ssize(choice.paths) == choice.pieces;
    for (const SnapshotFile& f : s.files) {
      if (belongs_to(choice, f.path)) count(gguf, f);
    }
    out.push_back(gguf);
  }
}

int64_t file_bytes(const fs::path& path) {
  std::error_code problem;
  const auto size = fs::file_size(path, problem);
  return problem ? 0 : static_cast<int64_t>(size);
}

// Removes `folder` if it is empty, and then the folders above it that are, up to but without `top`.
void remove_empty_folders(fs::path folder, const fs::path& top) {
  std::error_code problem;
  while (folder != top && fs::is_directory(folder, problem) && fs::is_empty(folder, problem) &&
         fs::remove(folder, problem))
    folder = folder.parent_path();
}

}  // namespace

std::vector<CachedModel> list_hub_cache(const fs::path& cache) {
  std::vector<CachedModel> out;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(cache, none)) {
    const auto repo = repo_of_folder(entry.path().filename().string());
    if (!repo) continue;
    const HubRepoFolder folder(cache, *repo);
    for (const Snapshot& s : snapshots_of(folder)) add_models(folder, *repo, s, out);
  }
  std::ranges::sort(out, {}, [](const CachedModel& m) { return m.name.text(); });
  return out;
}

HubRemoval plan_removal(const HubName& name, const fs::path& cache) {
  const HubRepoFolder folder(cache, name.repo);
  const std::vector<Snapshot> snapshots = snapshots_of(folder);
  HubRemoval out;
  std::set<std::string> wanted, kept;
  bool weights_stay = false;
  for (const Snapshot& s : snapshots) {
    const bool meant = name.revision.empty() || s.commit == name.revision ||
                       std::ranges::find(s.refs, name.revision) != s.refs.end();
    const std::vector<GgufChoice> choices = choices_of(s);
    const GgufChoice* choice = name.quant.empty() ? nullptr : find_quant(choices, name.quant);
    const bool whole =
        name.quant.empty() ||
        (choice != nullptr && choices.size() == 1 &&
         std::ranges::none_of(s.files, [](const SnapshotFile& f) { return f.path == "config.json"; }));
    const bool here = meant && (name.quant.empty() || choice != nullptr);
    out.models += here;
    for (const SnapshotFile& f : s.files) {
      if (here && (whole || belongs_to(*choice, f.path))) {
        out.links.push_back(folder.snapshot(s.commit) / f.path);
        if (!f.hash.empty()) wanted.insert(f.hash);
      } else {
        kept.insert(f.hash);
        weights_stay = true;
      }
    }
  }
  std::error_code none;
  // If nothing stays, cut downloads and blobs without a link go as well.
  if (!weights_stay &&
      (out.models > 0 || (snapshots.empty() && name.quant.empty() && name.revision.empty()))) {
    for (const auto& entry : fs::directory_iterator(folder.path() / "blobs", none))
      wanted.insert(entry.path().filename().string());
  }
  for (const std::string& hash : wanted) {
    if (kept.contains(hash)) continue;
    out.blobs.push_back(hash);
    out.bytes += file_bytes(folder.blob(hash));
  }
  if (out.models == 0 && out.blobs.empty()) {
    std::string list;
    for (const CachedModel& m : list_hub_cache(cache)) list += (list.empty() ? "" : ", ") + m.name.text();
    throw Error(fmt::format("{}: is not in the cache {}; it has {}", name.text(), cache.string(),
                            list.empty() ? "no models" : list));
  }
  return out;
}

void remove_from_hub_cache(const HubName& name, const HubRemoval& removal, const fs::path& cache) {
  const HubRepoFolder folder(cache, name.repo);
  for (const std::string& blob : removal.blobs) {
    const std::string hash = blob.substr(0, blob.find('.'));
    if (HubLock::is_held(folder.lock(hash)))
      throw Error(fmt::format("{}: another program is downloading it now; nothing was removed", name.text()));
  }
  std::error_code problem;
  const auto remove = [&](const fs::path& path) {
    fs::remove(path, problem);
    if (problem) throw Error(fmt::format("{}: cannot be removed ({})", path.string(), problem.message()));
  };
  for (const fs::path& link : removal.links) {
    remove(link);
    remove_empty_folders(link.parent_path(), folder.path());
  }
  for (const std::string& blob : removal.blobs) {
    remove(folder.blob(blob));
    fs::remove(folder.lock(blob.substr(0, blob.find('.'))), problem);
  }
  // Refs of snapshots that are gone.
  for (const auto& [commit, ref] : refs_by_commit(folder.path() / "refs")) {
    if (fs::exists(folder.snapshot(commit), problem)) continue;
    remove(folder.ref(ref));
    remove_empty_folders(folder.ref(ref).parent_path(), folder.path());
  }
  for (const char* part : {"blobs", "snapshots", "refs", ".no_exist"}) {
    const fs::path path = folder.path() / part;
    const bool negatives =
        std::string_view(part) == ".no_exist";  // notes of files that the hub does not have
    if (negatives && !fs::exists(folder.path() / "snapshots", problem)) fs::remove_all(path, problem);
    remove_empty_folders(path, folder.path());
  }
  remove_empty_folders(folder.path(), cache);
  if (!fs::exists(folder.path(), problem)) fs::remove(folder.lock("r1-links"), problem);
  remove_empty_folders(folder.locks(), cache);
}

}  // namespace r1
