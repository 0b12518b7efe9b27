#include "formats/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/ascii.h"
#include "base/byte_text.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/hub_download.h"
#include "formats/shown.h"

namespace r1 {
namespace fs = std::filesystem;

namespace {

std::string setting(const Environment& environment, const char* name) {
  const char* value = environment ? environment(name) : std::getenv(name);
  return value == nullptr ? "" : std::string(trim(value));
}

bool is_yes(std::string_view text) {
  return text == "1" || equal_ignoring_case(text, "true") || equal_ignoring_case(text, "yes") ||
         equal_ignoring_case(text, "on");
}

std::string read_token(const Environment& environment, const fs::path& file) {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    const std::string token = setting(environment, name);
    if (!token.empty()) return token;
  }
  std::error_code none;
  return fs::is_regular_file(file, none) ? std::string(trim(read_file(file))) : "";
}

// One pull: what its steps share.
class Pull {
 public:
  Pull(const HubName& name, const HubSettings& settings, const PullOptions& options, PullObserver& observer)
      : name_(name),
        settings_(settings),
        options_(options),
        observer_(observer),
        folder_(settings.cache, name.repo) {
    if (!settings.token.empty()) headers_.push_back({"Authorization", "Bearer " + settings.token});
  }

  PullResult run() {
    listing_ = fetch_listing();
    HubSelection selection = select_files(listing_, name_);
    check_listed(selection.files);
    folder_.create();
    if (!selection.index.empty()) {
      // The index is small and says which other files are needed.
      const auto index = std::ranges::find(selection.files, selection.index, &HubFile::path);
      download(*index);
      const Json json = read_index(*index);
      const std::vector<HubFile> shards = select_shards(json, listing_);
      selection.files.insert(selection.files.end(), shards.begin(), shards.end());
      check_listed(selection.files);
    }
    check_space(selection.files);
    for (const HubFile& file : selection.files) download(file);
    publish(selection.files);
    result_.commit = listing_.commit;
    result_.path = folder_.snapshot(listing_.commit);
    if (!selection.gguf.empty()) result_.path /= selection.gguf;
    return std::move(result_);
  }

 private:
  std::string page() const { return settings_.endpoint.origin() + "/" + name_.repo; }
  HttpUrl address(const std::string& path) const {
    return parse_http_url(settings_.endpoint.origin() + base_path() + path);
  }
  // HF_ENDPOINT may have a path: https://proxy.example/hf
  std::string base_path() const {
    std::string path = settings_.endpoint.target;
    while (path.ends_with('/')) path.pop_back();
    return path;
  }

  HubListing fetch_listing() {
    HttpOptions http;
    http.stop = options_.stop;
    http.backoff_s = options_.backoff_s;
    http.on_wait = [this](const std::string& why, double seconds) {
      observer_.note(fmt::format("{}; again in {:.1f} s", why, seconds));
    };
    HttpClient client(http);
    std::string revision = percent_encoded(name_.revision_or_main());
    for (size_t at = 0; (at = revision.find('/', at)) != std::string::npos;) revision.replace(at, 1, "%2F");
    HttpRequest request{.url = address("/api/models/" + name_.repo + "/revision/" + revision + "?blobs=true"),
                        .headers = headers_,
                        .body = {}};
    request.headers.push_back({"Accept", "application/json"});
    const HttpResponse response = client.send(request);
    if (response.status != 200) refuse(response, name_.text());
    return read_hub_listing(read_json_answer(response));
  }

  void check_listed(const std::vector<HubFile>& files) const {
    for (const HubFile& file : files) {
      if (file.size < 0 || file.hash.empty())
        throw Error(fmt::format("{}: the hub {} does not list the size and the hash of {}", name_.text(),
                                settings_.endpoint.origin(), shown(file.path)));
    }
  }

  bool is_present(const HubFile& file) const {
    std::error_code none;
    const fs::path blob = folder_.blob(file.hash);
    return fs::is_regular_file(blob, none) && static_cast<int64_t>(fs::file_size(blob, none)) == file.size;
  }

  int64_t incomplete_bytes(const HubFile& file) const {
    std::error_code problem;
    const auto size = fs::file_size(incomplete_path(folder_.blob(file.hash)), problem);
    return problem ? 0 : std::min(static_cast<int64_t>(size), file.size);
  }

  void check_space(const std::vector<HubFile>& files) {
    int64_t total = 0, present = 0;
    for (const HubFile& file : files) {
      total += file.size;
      present += is_present(file) ? file.size : incomplete_bytes(file);
    }
    std::error_code problem;
    const auto space = fs::space(settings_.cache, problem);
    if (!problem && static_cast<int64_t>(space.available) < total - present)
      throw Error(
          fmt::format("{}: {} are to be downloaded, and only {} are free on the disk of {}; HF_HOME names "
                      "another folder, r1 rm makes room",
                      name_.text(), byte_text(total - present),
                      byte_text(static_cast<int64_t>(space.available)), settings_.cache.string()));
    observer_.begin(total, present, std::ssize(files));
  }

  void download(const HubFile& file) {
    const bool again = std::ranges::find(result_.files, file.path, &PulledFile::path) != result_.files.end();
    if (again) return;
    PulledFile& pulled = result_.files.emplace_back();
    pulled = {.path = file.path, .hash = file.hash, .bytes = file.size};
    if (is_present(file)) return;
    const HubLock lock(
        folder_.lock(file.hash),
        [&] { observer_.note(fmt::format("another program is downloading {}: waiting for it", file.path)); },
        options_.stop);
    if (is_present(file)) return;
    observer_.file(file.path, file.size);
    const Download task{
        .url = address("/" + name_.repo + "/resolve/" + listing_.commit + "/" + percent_encoded(file.path)),
        .headers = headers_,
        .file = file,
        .blob = folder_.blob(file.hash),
        .refuse = [&](const HttpResponse& r) { refuse(r, fmt::format("{}: {}", name_.text(), file.path)); }};
    pulled.downloaded = download_file(task, options_, observer_);
  }

  Json read_index(const HubFile& index) const {
    constexpr int64_t kLargest = int64_t{256} << 20;
    if (index.size > kLargest) throw Error(fmt::format("{}: is {} long", index.path, byte_text(index.size)));
    return parse_json(read_file(folder_.blob(index.hash)), name_.repo + "/" + index.path);
  }

  // The links appear when all files are there. Two pulls of one model take turns.
  void publish(const std::vector<HubFile>& files) const {
    const HubLock lock(folder_.lock("r1-links"), {}, options_.stop);
    for (const HubFile& file : files) link_into_snapshot(folder_, listing_.commit, file);
    if (!is_hub_commit(name_.revision_or_main())) write_ref();
  }

  void write_ref() const {
    const fs::path ref = folder_.ref(name_.revision_or_main());
    std::error_code problem;
    fs::create_directories(ref.parent_path(), problem);
    write_file_atomically(ref, listing_.commit);
  }

  [[noreturn]] void refuse(const HttpResponse& response, const std::string& what) const {
    const std::string* code = response.header("x-error-code");
    const std::string kind = code == nullptr ? "" : *code;
    const bool token = !settings_.token.empty();
    const std::string how =
        fmt::format("HF_TOKEN, or the file {}, holds a token; {}/settings/tokens makes one",
                    settings_.token_file.string(), settings_.endpoint.origin());
    if (kind == "GatedRepo" || response.status == 403) {
      if (token)
        throw Error(
            fmt::format("{}: the hub gives this token no access (status {}); ask for it on the model's page "
                        "{}",
                        what, response.status, page()));
      throw Error(
          fmt::format("{}: access is restricted (status {}): ask for it on the model's page {} and give a "
                      "token: {}",
                      what, response.status, page(), how));
    }
    if (kind == "RevisionNotFound")
      throw Error(fmt::format("{}: the model has no revision {}", what, name_.revision_or_main()));
    if (response.status == 401) {
      if (token)
        throw Error(fmt::format(
            "{}: the hub does not accept the token, or there is no such model (status 401): {}", what, how));
      throw Error(
          fmt::format("{}: there is no such model, or it is private (status 401): for a private one give a "
                      "token: {}",
                      what, how));
    }
    if (response.status == 404) throw Error(fmt::format("{}: the hub {} has no such model", what, page()));
    if (response.status == 429)
      throw Error(fmt::format("{}: the hub limits requests (status 429); try again later{}", what,
                              token ? "" : ", or give a token: " + how));
    throw Error(fmt::format("{}: {} answered with status {}", what, response.url.origin(), response.status));
  }

  const HubName& name_;
  const HubSettings& settings_;
  const PullOptions& options_;
  PullObserver& observer_;
  HubRepoFolder folder_;
  std::vector<HttpHeader> headers_;
  HubListing listing_;
  PullResult result_;
};

// Without the hub: what the cache has.
PullResult pull_offline(const HubName& name, const HubSettings& settings) {
  const auto found = find_in_hub_cache(name, settings.cache);
  if (!found)
    throw Error(fmt::format("{}: is not in the cache {}, and HF_HUB_OFFLINE forbids to download it",
                            name.text(), settings.cache.string()));
  PullResult out;
  out.path = *found;
  // CACHE/models--.../snapshots/COMMIT/...
  const fs::path below =
      found->lexically_relative(HubRepoFolder(settings.cache, name.repo).path() / "snapshots");
  out.commit = below.begin()->string();
  return out;
}

}  // namespace

HubSettings hub_settings(const Environment& environment) {
  HubSettings out;
  const std::string endpoint = setting(environment, "HF_ENDPOINT");
  try {
    out.endpoint = parse_http_url(endpoint.empty() ? "https://huggingface.co" : endpoint);
  } catch (const Error& e) {
    throw Error(fmt::format("HF_ENDPOINT: {}", e.what()));
  }
  const std::string file = setting(environment, "HF_TOKEN_PATH");
  out.token_file = file.empty() ? hub_home_folder(environment) / "token" : fs::path(file);
  out.token = read_token(environment, out.token_file);
  if (std::ranges::any_of(out.token, [](char c) { return c <= ' ' || c == 0x7F; }))
    throw Error("the hub's token (HF_TOKEN, or the file " + out.token_file.string() +
                ") has a character that none has");
  out.offline = is_yes(setting(environment, "HF_HUB_OFFLINE"));
  out.cache = hub_cache_folder(environment);
  const std::string& host = out.endpoint.host;
  const bool here = host == "localhost" || host.starts_with("127.") || host == "::1";
  if (!out.token.empty() && !out.endpoint.tls && !here)
    throw Error(
        "HF_ENDPOINT is not https://, and a token would be readable on the way: use https://, or no token");
  return out;
}

Json read_json_answer(const HttpResponse& response) {
  const std::string where = response.url.origin();
  if (response.status != 200) throw Error(fmt::format("{}: answered with status {}", where, response.status));
  const std::string_view text = trim(response.body);
  const std::string* type = response.header("content-type");
  if (text.starts_with('<') || (type != nullptr && type->starts_with("text/html")))
    throw Error(
        fmt::format("{}: returned an HTML page where JSON was due: is the address right, or does the network "
                    "ask for a login?",
                    where));
  return parse_json(response.body, where);
}

PullResult pull_model(const HubName& name, const HubSettings& settings, const PullOptions& options,
                      PullObserver& observer) {
  if (settings.offline) return pull_offline(name, settings);
  return Pull(name, settings, options, observer).run();
}

}  // namespace r1
