// Pulling from a hub that cuts, lies, redirects, limits and lists hostile names; the cache it fills.
#include "formats/hub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "formats/hub_download.h"
#include "tests/formats/hub_test_server.h"

namespace r1::hub_test {
namespace {

namespace fs = std::filesystem;
using test::TestHub;

class Quiet final : public PullObserver {
 public:
  void begin(int64_t total, int64_t present, int64_t) override {
    this->total = total;
    this->present = present;
  }
  void file(const std::string& path, int64_t) override { files.push_back(path); }
  void bytes(int64_t n) override { received += n; }
  void note(const std::string& line) override { notes.push_back(line); }
  int64_t total = 0, present = 0;
  std::atomic<int64_t> received{0};
  std::vector<std::string> files, notes;
};

std::string noise(size_t size, uint64_t seed) {
  Random random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random.below(256));
  return out;
}

struct Folder {
  fs::path path = fs::temp_directory_path() / ("r1-hub-test-" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() {
    std::error_code none;
    fs::remove_all(path, none);
  }
};

class Hub : public testing::Test {
 protected:
  Hub() {
    hub.files = {{"config.json", "{\"model_type\":\"llama\"}"},
                 {"tokenizer.json", "{}"},
                 {"model.safetensors", noise(300'000, 1)},
                 {"pytorch_model.bin", "pickled"},
                 {"onnx/model.onnx", "x"},
                 {"README.md", "A model."}};
    hub.large = {"model.safetensors", "pytorch_model.bin"};
    options.backoff_s = 0.001;
    options.chunk_bytes = 10'000;
    options.connections = 4;
  }
  HubSettings settings(const std::string& token = "") const {
    HubSettings s;
    s.endpoint = parse_http_url(hub.url());
    s.cache = folder.path / "hub";
    s.token = token;
    s.token_file = folder.path / "token";
    return s;
  }
  PullResult pull(const std::string& name = TestHub::kRepo, const std::string& token = "") {
    return pull_model(hub_name_of(name), settings(token), options, observer);
  }
  std::string error(const std::string& name = TestHub::kRepo, const std::string& token = "") {
    try {
      pull(name, token);
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      return e.what();
    }
    return "no error";
  }
  fs::path repo() const { return settings().cache / "models--r1-tests--model"; }
  void expect_model_is_whole(const fs::path& path) {
    for (const char* name : {"config.json", "tokenizer.json", "model.safetensors", "README.md"})
      EXPECT_EQ(read_file(path / name), hub.files.at(name)) << name;
  }

  TestHub hub;
  Folder folder;
  PullOptions options;
  Quiet observer;
};

#define EXPECT_HAS(text, needle)                                   \
  do {                                                             \
    const std::string r1_text = (text);                            \
    EXPECT_NE(r1_text.find(needle), std::string::npos) << r1_text; \
  } while (0)

TEST_F(Hub, WhatAModelNeedsIsPulledIntoHuggingFacesLayout) {
  const PullResult result = pull();
  EXPECT_EQ(result.path, repo() / "snapshots" / TestHub::kCommit);
  expect_model_is_whole(result.path);
  EXPECT_FALSE(fs::exists(result.path / "pytorch_model.bin"));
  EXPECT_FALSE(fs::exists(result.path / "onnx"));
  EXPECT_EQ(read_file(repo() / "refs" / "main"), TestHub::kCommit);
  EXPECT_EQ(fs::read_symlink(result.path / "model.safetensors").string(),
            "../../blobs/" + sha256_hex(hub.files.at("model.safetensors")));
  EXPECT_EQ(fs::read_symlink(result.path / "config.json").string(),
            "../../blobs/" + test::git_sha1(hub.files.at("config.json")));
  EXPECT_EQ(observer.received, observer.total);
  // The large file came in ranges, and the hub was asked once per connection where it is.
  EXPECT_EQ(hub.fetched().size(), 30u);
  int resolved = 0;
  for (const auto& r : hub.asked()) resolved += r.target.find("model.safetensors") != std::string::npos;
  EXPECT_LE(resolved, options.connections);
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), result.path);
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo + "@" + TestHub::kCommit), settings().cache),
            result.path);
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo + "@other"), settings().cache), std::nullopt);
}

TEST_F(Hub, NothingComesTwice) {
  pull();
  const size_t before = hub.fetched().size();
  const PullResult again = pull();
  EXPECT_EQ(hub.fetched().size(), before);
  for (const PulledFile& f : again.files) EXPECT_EQ(f.downloaded, 0) << f.path;
}

TEST_F(Hub, CutConnectionsGoOnWhereTheyWere) {
  hub.cut_every = 2;
  hub.cut_after = 3'000;
  expect_model_is_whole(pull().path);
  EXPECT_EQ(observer.received, observer.total);
}

TEST_F(Hub, ACutPullGoesOnFromItsFirstBytes) {
  const std::string& model = hub.files.at("model.safetensors");
  const fs::path blob = repo() / "blobs" / sha256_hex(model);
  hub.cut_every = 3;
  hub.cut_after = 0;
  options.stop = [&] { return hub.fetched().size() > 12; };
  EXPECT_HAS(error(), "it was stopped");
  const std::string partial = read_file(incomplete_path(blob));
  EXPECT_EQ(partial, model.substr(0, partial.size())) << "the bytes on disk are the file's first ones";
  EXPECT_FALSE(fs::exists(repo() / "snapshots" / TestHub::kCommit));
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), std::nullopt);
  hub.cut_every = 0;
  options.stop = {};
  observer.received = 0;
  expect_model_is_whole(pull().path);
  EXPECT_EQ(observer.received + observer.present, observer.total);
  EXPECT_GE(observer.present, static_cast<int64_t>(partial.size()));
  EXPECT_FALSE(fs::exists(incomplete_path(blob)));
}

TEST_F(Hub, AServerWithoutRangesIsReadFromTheStart) {
  hub.ranges = false;
  hub.cut_every = 3;
  const std::string& model = hub.files.at("model.safetensors");
  fs::create_directories(repo() / "blobs");
  write_file_atomically(incomplete_path(repo() / "blobs" / sha256_hex(model)), model.substr(0, 50'000));
  expect_model_is_whole(pull().path);
}

TEST_F(Hub, DamagedFilesAreRefusedAndRemoved) {
  std::string damaged = hub.files.at("model.safetensors");
  damaged[200'000] ^= 1;
  hub.served["model.safetensors"] = damaged;
  EXPECT_HAS(error(), "model.safetensors: what came has the hash");
  const fs::path blob = repo() / "blobs" / sha256_hex(hub.files.at("model.safetensors"));
  EXPECT_FALSE(fs::exists(blob));
  EXPECT_FALSE(fs::exists(incomplete_path(blob)));
  fs::remove_all(repo());
  hub.served = {{"config.json", "{\"model_type\":\"LLAMA\"}"}};
  EXPECT_HAS(error(), "config.json: what came has the hash");
  hub.served.clear();
  expect_model_is_whole(pull().path);
}

TEST_F(Hub, ADamagedBeginningOnDiskIsFound) {
  const std::string& model = hub.files.at("model.safetensors");
  fs::create_directories(repo() / "blobs");
  write_file_atomically(incomplete_path(repo() / "blobs" / sha256_hex(model)), std::string(1000, 'x'));
  EXPECT_HAS(error(), "it was damaged on the way and is removed; pull it again");
  expect_model_is_whole(pull().path);
}

TEST_F(Hub, OtherSizesThanListedAreRefused) {
  const std::string& model = hub.files.at("model.safetensors");
  hub.served["model.safetensors"] = model + "more";
  EXPECT_HAS(error(), "lists 300000 bytes and sends a file of 300004");
  hub.ranges = false;
  EXPECT_HAS(error(), "lists 300000 bytes and sends a file of 300004");
  hub.served["model.safetensors"] = model.substr(0, 100);
  EXPECT_HAS(error(), "lists 300000 bytes and sends a file of 100");
  fs::remove_all(repo());
  hub.served = {{"config.json", "<html>please log in</html>"}};
  EXPECT_HAS(error(), "config.json: the hub lists");
}

TEST_F(Hub, ATokenOpensTheDoorAndItsLackIsExplained) {
  hub.token = "hf_secret";
  EXPECT_HAS(
      error(),
      "there is no such model, or it is private (status 401): for a private one give a token: HF_TOKEN");
  EXPECT_HAS(error(TestHub::kRepo, "hf_wrong"), "does not accept the token");
  expect_model_is_whole(pull(TestHub::kRepo, "hf_secret").path);
}

TEST_F(Hub, MissingModelsAndRevisionsAreNamed) {
  EXPECT_HAS(error("r1-tests/other"), "has no such model");
  EXPECT_HAS(error(TestHub::kRepo + "@v9"), "the model has no revision v9");
}

TEST_F(Hub, HostileListsAreRefusedWhole) {
  const std::string good = hub.list().dump();
  for (const char* path : {"../evil", "/etc/passwd", "a/../../evil", "a//b", "a/./b", "", "..", "a\\\\b",
                           "a\\u0000b", "a/", "config.json/x"}) {
    hub.listing = "{\"sha\":\"" + TestHub::kCommit +
                  "\",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":1,\"blobId\":\"" +
                  std::string(40, 'b') + "\"},{\"rfilename\":\"" + path + "\",\"size\":1,\"blobId\":\"" +
                  std::string(40, 'b') + "\"}]}";
    const std::string why = error();
    EXPECT_TRUE(why.find("the list is refused") != std::string::npos ||
                why.find("both a file and a folder") != std::string::npos)
        << path << ": " << why;
  }
  EXPECT_FALSE(fs::exists(settings().cache));
  const std::pair<std::string, const char*> lists[] = {
      {"<html>login</html>", "returned an HTML page where JSON was due"},
      {"{}", "field sha is missing"},
      {"{\"sha\":\"../../x\",\"siblings\":[]}", "is no commit"},
      {"{\"sha\":\"" + TestHub::kCommit +
           "\",\"siblings\":[{\"rfilename\":\"a\",\"blobId\":\"../../../evil\"}]}",
       "is no name of a git object"},
      {"{\"sha\":\"" + TestHub::kCommit +
           "\",\"siblings\":[{\"rfilename\":\"a\",\"lfs\":{\"sha256\":\"..\",\"size\":1}}]}",
       "is no SHA-256"},
      {"{\"sha\":\"" + TestHub::kCommit + "\",\"siblings\":[{\"rfilename\":\"a\",\"size\":-5}]}",
       "is no size"},
      {"{\"sha\":\"" + TestHub::kCommit + "\",\"siblings\":[]}", "has no weights that r1 reads"}};
  for (const auto& [listing, want] : lists) {
    hub.listing = listing;
    EXPECT_HAS(error(), want);
  }
}

TEST_F(Hub, LinksInTheCacheDoNotLeadOut) {
  fs::create_directories(repo() / "snapshots");
  fs::create_directories(folder.path / "outside");
  fs::create_directory_symlink(folder.path / "outside", repo() / "snapshots" / TestHub::kCommit);
  EXPECT_HAS(error(), "is in the way of a folder");
  EXPECT_TRUE(fs::is_empty(folder.path / "outside"));
}

TEST_F(Hub, ShardsAreThoseOfTheIndex) {
  hub.files.erase("model.safetensors");
  hub.files["model-00001-of-00002.safetensors"] = "one";
  hub.files["model-00002-of-00002.safetensors"] = "two";
  hub.files["consolidated.safetensors"] = "another format";
  const std::string index = "model.safetensors.index.json";
  hub.files[index] =
      R"({"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})";
  const PullResult result = pull();
  EXPECT_EQ(read_file(result.path / "model-00002-of-00002.safetensors"), "two");
  EXPECT_FALSE(fs::exists(result.path / "consolidated.safetensors"));
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), result.path);
  fs::remove(result.path / "model-00002-of-00002.safetensors");
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), std::nullopt) << "not whole";
  hub.files[index] = R"({"weight_map":{"a":"../../evil.safetensors"}})";
  EXPECT_HAS(error(), "leaves the model's folder");
  hub.files[index] = R"({"weight_map":{"a":"model-9.safetensors"}})";
  EXPECT_HAS(error(), "names model-9.safetensors, which the model does not have");
}

TEST_F(Hub, QuantisationsAreChosenByName) {
  hub.files = {{"M-Q4_K_M.gguf", "four"},
               {"M-Q8_0.gguf", "eight"},
               {"Q2_K/M-Q2_K-00001-of-00002.gguf", "two a"},
               {"Q2_K/M-Q2_K-00002-of-00002.gguf", "two b"},
               {"mmproj-M-f16.gguf", "pictures"},
               {"README.md", "x"}};
  hub.large = {"M-Q4_K_M.gguf"};
  EXPECT_HAS(error(),
             "has several GGUF models; name one: r1-tests/model:Q2_K (10 B), r1-tests/model:Q4_K_M (4 B), "
             "r1-tests/model:Q8_0 (5 B)");
  EXPECT_HAS(error(TestHub::kRepo + ":Q3_K"), "has no quantisation Q3_K; it has r1-tests/model:Q2_K");
  const fs::path four = pull(TestHub::kRepo + ":q4_k_m").path;
  EXPECT_EQ(read_file(four), "four");
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), four) << "the only one here";
  const fs::path two = pull(TestHub::kRepo + ":Q2_K").path;
  EXPECT_EQ(two.filename(), "M-Q2_K-00001-of-00002.gguf");
  EXPECT_EQ(read_file(two.parent_path() / "M-Q2_K-00002-of-00002.gguf"), "two b");
  EXPECT_EQ(fs::read_symlink(two).string(), "../../../blobs/" + test::git_sha1("two a"));
  EXPECT_EQ(find_in_hub_cache(hub_name_of(TestHub::kRepo + ":Q2_K"), settings().cache), two);
  EXPECT_THROW(find_in_hub_cache(hub_name_of(TestHub::kRepo), settings().cache), Error) << "two are here";
  hub.files.erase("Q2_K/M-Q2_K-00002-of-00002.gguf");
  EXPECT_HAS(error(TestHub::kRepo + ":Q2_K"), "is in 2 pieces, of which the list has 1");
}

TEST(HubFiles, NamesOfQuantisations) {
  const auto quants = [](std::vector<std::string> paths) {
    std::string out;
    for (const GgufChoice& c : gguf_choices(paths)) out += c.quant + " ";
    return out;
  };
  EXPECT_EQ(
      quants({"DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf", "llama-2-7b.Q5_0.gguf", "x-bf16.gguf",
              "a/x-UD-IQ2_XXS.gguf", "ggml-model-q8_0.gguf", "smollm.gguf", "x.imatrix.gguf", "config.json"}),
      "Q4_K_M Q5_0 UD-IQ2_XXS bf16 q8_0 smollm ");
  EXPECT_EQ(quants({"A-1B-Q8_0.gguf", "A-3B-Q8_0.gguf"}), "A-1B-Q8_0 A-3B-Q8_0 ");
  EXPECT_EQ(quants({"x-Q4_0-00003-of-00002.gguf"}), "x-Q4_0-00003-of-00002 ");
}

TEST(HubFiles, WhatCannotBeReadIsSaid) {
  const auto error = [](std::vector<std::string> paths, const char* name = "o/n") {
    HubListing listing;
    for (const std::string& p : paths) listing.files.push_back({p, 1, std::string(40, 'a')});
    try {
      select_files(listing, hub_name_of(name));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_HAS(error({"config.json", "pytorch_model.bin"}), "pickled Python");
  EXPECT_HAS(error({"adapter_config.json", "adapter_model.safetensors"}), "it is an adapter");
  EXPECT_HAS(error({"model.safetensors"}), "no config.json");
  EXPECT_HAS(error({"config.json", "model.safetensors"}, "o/n:Q8_0"), "has no GGUF files; leave out :Q8_0");
}

TEST(HubName, PartsAndRefusals) {
  const auto name = read_hub_name("org/na.me_1:Q4_K_M@refs/pr/1");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->repo + "|" + name->quant + "|" + name->revision, "org/na.me_1|Q4_K_M|refs/pr/1");
  EXPECT_EQ(name->text(), "org/na.me_1:Q4_K_M@refs/pr/1");
  for (const char* bad : {"",       "name",   "a/b/c",  "./x",      "../x",       "a/..",  "a/",
                          "/a",     "a/b:",   "a/b@",   "a/b@../x", "a/b@x/../y", "a b/c", "a/b:x/y",
                          "a--b/c", "a/b@-x", "a/b@/x", "-a/b",     "a/b@x//y",   "a/b@.x"})
    EXPECT_FALSE(read_hub_name(bad)) << bad;
  EXPECT_THROW(hub_name_of("a/b/c"), Error);
}

TEST(HubDownload, ContentRanges) {
  ContentRange r;
  EXPECT_TRUE(read_content_range("bytes 5-9/10", r));
  EXPECT_EQ(r.first * 100 + r.last * 10 + r.total, 600);
  for (const char* bad : {"", "bytes */10", "bytes 5-9/*", "bytes 9-5/10", "bytes 5-10/10", "bytes 5-9/10x",
                          "bytes -5-9/10", "items 5-9/10", "bytes 5-9", "bytes 99999999999999999999-1/2"})
    EXPECT_FALSE(read_content_range(bad, r)) << bad;
}

TEST(HubSettings, TheEnvironmentIsReadAsHuggingfaceHubDoes) {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) {
    const auto at = variables.find(name);
    return at == variables.end() ? nullptr : at->second.c_str();
  };
  EXPECT_THROW(hub_settings(environment), Error);
  variables = {{"HOME", "/home/u"}};
  EXPECT_EQ(hub_settings(environment).cache, "/home/u/.cache/huggingface/hub");
  EXPECT_EQ(hub_settings(environment).endpoint.text(), "https://huggingface.co/");
  EXPECT_EQ(hub_settings(environment).token_file, "/home/u/.cache/huggingface/token");
  variables["XDG_CACHE_HOME"] = "/x";
  EXPECT_EQ(hub_settings(environment).cache, "/x/huggingface/hub");
  variables["HF_HOME"] = "~/hf";
  EXPECT_EQ(hub_settings(environment).cache, "/home/u/hf/hub");
  variables["HF_HUB_CACHE"] = "/c";
  variables["HF_TOKEN"] = " hf_x\n";
  variables["HF_HUB_OFFLINE"] = "1";
  variables["HF_ENDPOINT"] = "https://mirror.example/hf/";
  const HubSettings s = hub_settings(environment);
  EXPECT_EQ(s.cache.string() + "|" + s.token + "|" + std::to_string(s.offline), "/c|hf_x|1");
  variables["HF_ENDPOINT"] = "http://mirror.example";
  EXPECT_THROW(hub_settings(environment), Error) << "a token over plain http";
  variables["HF_ENDPOINT"] = "mirror";
  EXPECT_THROW(hub_settings(environment), Error);
}

TEST_F(Hub, OfflineTheCacheAnswers) {
  HubSettings offline = settings();
  offline.offline = true;
  const auto ask = [&] { return pull_model(hub_name_of(TestHub::kRepo), offline, options, observer); };
  EXPECT_THROW(ask(), Error);
  const PullResult result = pull();
  const size_t asked = hub.asked().size();
  EXPECT_EQ(ask().path, result.path);
  EXPECT_EQ(ask().commit, TestHub::kCommit);
  EXPECT_EQ(hub.asked().size(), asked);
}

TEST_F(Hub, TwoPullsAtOnceDoNotHarmEachOther) {
  hub.cut_every = 5;
  std::atomic<int> good{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        Quiet mine;
        pull_model(hub_name_of(TestHub::kRepo), settings(), options, mine);
        ++good;
      });
    }
  }
  EXPECT_EQ(good, 4);
  expect_model_is_whole(repo() / "snapshots" / TestHub::kCommit);
}

TEST_F(Hub, AHeldLockIsWaitedFor) {
  const std::string hash = sha256_hex(hub.files.at("model.safetensors"));
  const HubRepoFolder paths(settings().cache, TestHub::kRepo);
  paths.create();
  const int fd = ::open(paths.lock(hash).c_str(), O_RDWR | O_CREAT, 0666);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  options.stop = [&] { return !observer.notes.empty(); };
  EXPECT_HAS(error(), "stopped while it waited");
  EXPECT_HAS(observer.notes.at(0), "another program is downloading model.safetensors");
  EXPECT_THROW(
      remove_from_hub_cache(hub_name_of(TestHub::kRepo), {.links = {}, .blobs = {hash}}, settings().cache),
      Error);
  ::close(fd);
}

TEST_F(Hub, ListedModelsCanBeRemovedWithTheirOwnBlobsOnly) {
  EXPECT_TRUE(list_hub_cache(settings().cache).empty());
  pull();
  // A second snapshot that shares all files but one, as huggingface_hub would leave it.
  const std::string other(40, 'c');
  const HubRepoFolder paths(settings().cache, TestHub::kRepo);
  write_file_atomically(paths.blob(std::string(40, 'd')), "own");
  for (const char* name : {"config.json", "tokenizer.json"})
    link_into_snapshot(paths, other, {name, 1, test::git_sha1(hub.files.at(name))});
  link_into_snapshot(paths, other, {"model.safetensors", 3, std::string(40, 'd')});
  write_file_atomically(paths.ref("v2"), other);
  auto models = list_hub_cache(settings().cache);
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name.text(), TestHub::kRepo);
  EXPECT_EQ(models[1].name.text(), TestHub::kRepo + "@v2");
  EXPECT_EQ(models[1].bytes, 3 + 22 + 2);
  EXPECT_TRUE(models[0].whole && models[1].whole);
  const HubName v2 = hub_name_of(TestHub::kRepo + "@v2");
  const HubRemoval removal = plan_removal(v2, settings().cache);
  EXPECT_EQ(removal.blobs, std::vector<std::string>{std::string(40, 'd')});
  remove_from_hub_cache(v2, removal, settings().cache);
  expect_model_is_whole(repo() / "snapshots" / TestHub::kCommit);
  EXPECT_FALSE(fs::exists(paths.snapshot(other)));
  EXPECT_FALSE(fs::exists(paths.ref("v2")));
  const HubName all = hub_name_of(TestHub::kRepo);
  remove_from_hub_cache(all, plan_removal(all, settings().cache), settings().cache);
  EXPECT_FALSE(fs::exists(repo()));
  EXPECT_TRUE(list_hub_cache(settings().cache).empty());
  EXPECT_THROW(plan_removal(all, settings().cache), Error);
}

TEST_F(Hub, OneQuantisationIsRemovedAndTheOthersStay) {
  hub.files = {{"M-Q4_K_M.gguf", "four"}, {"M-Q8_0.gguf", "eight"}, {"README.md", "x"}};
  pull(TestHub::kRepo + ":Q4_K_M");
  const fs::path eight = pull(TestHub::kRepo + ":Q8_0").path;
  ASSERT_EQ(list_hub_cache(settings().cache).size(), 2u);
  const HubName four = hub_name_of(TestHub::kRepo + ":Q4_K_M");
  const HubRemoval removal = plan_removal(four, settings().cache);
  EXPECT_EQ(removal.bytes, 4);
  remove_from_hub_cache(four, removal, settings().cache);
  EXPECT_EQ(read_file(eight), "eight");
  ASSERT_EQ(list_hub_cache(settings().cache).size(), 1u);
  const HubName last = hub_name_of(TestHub::kRepo + ":Q8_0");
  remove_from_hub_cache(last, plan_removal(last, settings().cache), settings().cache);
  EXPECT_FALSE(fs::exists(repo())) << "README.md goes with the last model";
}

}  // namespace
}  // namespace r1::hub_test
