// cli/doctor_transformers.cc: compares logits with transformers. A small Python program in a temporary folder
// runs the model in f32 and writes its logits to a file.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "cli/doctor.h"
#include "model/scoring.h"
#include "ops/matmul/matmul.h"
#include "tensor/transfer.h"

extern char** environ;

namespace r1 {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 1e-3;  // as a share of the logits' range
constexpr int kNoPackage = 77;       // the Python program's exit status if a package is missing

constexpr const char* kProgram = R"(import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
model, rows, out = sys.argv[1:]
try:
    import torch, transformers
except ImportError as error:
    print(error)
    sys.exit(77)
loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()
with open(out, "wb") as file, torch.no_grad():
    for row in json.load(open(rows)):
        logits = loaded(torch.tensor([row])).logits[0].to(torch.float32)
        file.write(logits.contiguous().numpy().astype("<f4").tobytes())
print("torch", torch.__version__, "transformers", transformers.__version__)
)";

struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "r1-doctor-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw Error(name + ": no temporary folder can be made");
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  fs::path path;
};

// Runs `words` with both outputs going to `output`. Returns the exit status, 127 if the program cannot be
// started.
int run(const std::vector<std::string>& words, const fs::path& output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (failed != 0 || ::waitpid(pid, &status, 0) != pid) return 127;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string last_line(const fs::path& path) {
  std::string text = read_file(path);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
}

std::vector<std::vector<int32_t>> some_rows(const ModelConfig& config) {
  std::vector<std::vector<int32_t>> rows;
  Random random(3);
  for (const int64_t length : {5, 33, 80}) {
    auto& row = rows.emplace_back();
    for (int64_t i = 0; i < std::min(length, config.max_positions); ++i)
      row.push_back(static_cast<int32_t>(random.below(config.vocab_size)));
  }
  return rows;
}

std::vector<float> our_logits(const Model& model, const std::vector<std::vector<int32_t>>& rows,
                              ThreadPool& threads) {
  std::vector<float> out;
  Arena arena;
  Context ctx{.arena = arena, .threads = threads};
  for (const auto& row : rows) {
    const ArenaScope scope(arena);
    const std::span<const int32_t> tokens = row;
    const WholeBatch whole = whole_batch(std::span(&tokens, 1));
    const KvCache kv(model.config(), whole.page_count, ctx);
    const Tensor hidden = model.forward(ctx, whole.view(), kv);
    in_f32(ctx.memory(), matmul(ctx, hidden, model.head(), DType::f32),
           [&out](std::span<const float> values) { out.insert(out.end(), values.begin(), values.end()); });
  }
  return out;
}

std::string get_them(const std::string& python) {
  return fmt::format(
      "get them with \"python3 -m venv peer\" and \"peer/bin/pip install torch transformers\", then add "
      "--python peer/bin/python (now: {})",
      python);
}

}  // namespace

Check compare_with_transformers(const fs::path& directory, const std::string& python, ThreadPool& threads) {
  const TemporaryFolder folder;
  const Model model = Model::load(directory, DType::f32, WeightUse::inference);
  const auto rows = some_rows(model.config());
  Json json = Json::array();
  for (const auto& row : rows) json.push_back(Json::array_of(row));
  const fs::path program = folder.path / "logits.py", input = folder.path / "rows.json",
                 output = folder.path / "logits.f32", said = folder.path / "said";
  write_file_atomically(program, kProgram);
  write_file_atomically(input, json.dump());
  const int status = run(
      {python, program.string(), fs::absolute(directory).string(), input.string(), output.string()}, said);
  std::error_code none;
  const std::string answer = fs::exists(said, none) ? last_line(said) : "";
  if (status == 127) throw Error(fmt::format("--against-transformers: no Python: {}", get_them(python)));
  if (status == kNoPackage)
    throw Error(fmt::format("--against-transformers: {}: {}", answer, get_them(python)));
  const std::string name = "transformers";
  if (status != 0) return {name, false, fmt::format("it cannot run this model: {}", answer)};
  const std::vector<float> ours = our_logits(model, rows, threads);
  const std::string bytes = read_file(output);
  if (bytes.size() != ours.size() * sizeof(float))
    return {name, false, "its logits are of another size: the vocabulary differs from config.json's"};
  std::vector<float> theirs(ours.size());
  std::memcpy(theirs.data(), bytes.data(), bytes.size());
  double largest = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(ours[i]) - static_cast<double>(theirs[i]));
    if (!(difference <= largest)) largest = difference;  // true for a NaN as well
  }
  const auto [low, high] = std::ranges::minmax(theirs);
  const double share = largest / std::max(1e-30, static_cast<double>(high) - static_cast<double>(low));
  const std::string seen = fmt::format("{} logits of {} rows, largest difference {:.2e} of their range ({})",
                                       ours.size(), rows.size(), share, answer);
  if (share <= kTolerance) return {name, true, seen};
  return {name, false,
          fmt::format("{}: above {:.0e}: the architecture is not read as transformers reads it: compare "
                      "config.json with docs/guide.md's table, and report it",
                      seen, kTolerance)};
}

}  // namespace r1
