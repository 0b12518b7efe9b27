#include "cli/bench_peer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

extern char** environ;

namespace r1 {
namespace {

// Reads requests from standard input, a JSON object per line, and answers each by one. Keys of earlier
// positions are computed once and kept; later requests of the same depth cut the cache back.
constexpr const char* kPeerProgram = R"py(import json, sys, time
out = sys.stdout
path, threads, sequences, positions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
try:
    import llama_cpp as L
except ImportError as error:
    print(json.dumps({"error": "llama-cpp-python is not installed (%s)" %
                                     error
}), flush=True)
    sys.exit(0)
import ctypes
@L.llama_log_callback
def quiet(level, text, data): pass
L.llama_log_set(quiet, ctypes.c_void_p(0))
L.llama_backend_init()
model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
if not model:
    print(json.dumps({"error": "llama.cpp cannot load the file"}), flush=True)
    sys.exit(0)
p = L.llama_context_default_params()
p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = sequences * positions, 2048, 512, sequences
p.n_threads = p.n_threads_batch = threads
ctx = L.llama_init_from_model(model, p)
if not ctx:
    print(json.dumps({"error": "llama.cpp cannot make a context of %d tokens" % p.n_ctx}), flush=True)
    sys.exit(0)
memory = L.llama_get_memory(ctx)
filled = [0] * sequences
def run(rows, last):
    tokens = [(s, q, i == len(r) - 1 and last) for s, r in rows for i, q in enumerate(r)]
    batch = L.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, (s, q, want) in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = 1 + q % 7, q, 1
        batch.seq_id[i][0], batch.logits[i] = s, want
    status = L.llama_decode(ctx, batch)
    L.llama_synchronize(ctx)
    L.llama_batch_free(batch)
    if status != 0: raise RuntimeError("llama_decode returned %d" % status)
def prepare(batch, depth):
    for s in range(sequences):
        keep = depth if s < batch else 0
        if filled[s] > keep:
            L.llama_memory_seq_rm(memory, s, keep, -1)
            filled[s] = keep
    for s in range(batch):
        while filled[s] < depth:
            n = min(512, depth - filled[s])
            run([(s, range(filled[s], filled[s] + n))], False)
            filled[s] += n
print(json.dumps({"version": L.__version__}), flush=True)
for line in sys.stdin:
    r = json.loads(line)
    try:
        prepare(r["batch"], r["depth"])
        begin = time.perf_counter()
        if r["prefill"]:
            run([(s, range(r["depth"], r["depth"] + r["tokens"])) for s in range(r["batch"])], True)
            took = time.perf_counter() - begin
            for s in range(r["batch"]): filled[s] = r["depth"] + r["tokens"]
        else:
            for step in range(r["tokens"]):
                run([(s, [r["depth"] + step]) for s in range(r["batch"])], True)
            took = (time.perf_counter() - begin) / r["tokens"]
            for s in range(r["batch"]): filled[s] = r["depth"] + r["tokens"]
        print(json.dumps({"seconds": took}), flush=True)
    except Exception as error:
        print(json.dumps({"error": str(error)}), flush=True)
)py";

}  // namespace

struct LlamaPeer::Process {
  pid_t pid = -1;
  int to = -1, from = -1;
  std::string pending;
  ~Process() {
    if (to >= 0) ::close(to);
    if (from >= 0) ::close(from);
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
};

LlamaPeer::LlamaPeer(const std::string& python, const std::filesystem::path& gguf, int threads,
                     int64_t sequences, int64_t positions)
    : process_(std::make_unique<Process>()) {
  std::array<int, 2> in{}, out{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0) throw Error("no pipe can be made");
  process_->to = in[1];
  if (::pipe2(out.data(), O_CLOEXEC) != 0) {
    ::close(in[0]);
    throw Error("no pipe can be made");
  }
  process_->from = out[0];
  std::vector<std::string> words{python,
                                 "-c",
                                 kPeerProgram,
                                 gguf.string(),
                                 std::to_string(threads),
                                 std::to_string(sequences),
                                 std::to_string(positions)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  const int failed = ::posix_spawnp(&process_->pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  if (failed != 0) {
    process_->pid = -1;
    throw Error(fmt::format("{} cannot be started", python));
  }
  version_ = read_line().get_string("version");
}

LlamaPeer::~LlamaPeer() = default;

Json LlamaPeer::read_line() {
  std::string& text = process_->pending;
  size_t end = 0;
  while ((end = text.find('\n')) == std::string::npos) {
    char chunk[4096];
    const ssize_t n = ::read(process_->from, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error("llama.cpp's process has ended");
    text.append(chunk, static_cast<size_t>(n));
  }
  const Json json = parse_json(text.substr(0, end), "llama.cpp's process");
  text.erase(0, end + 1);
  if (const Json* error = json.find("error")) throw Error(error->string());
  return json;
}

double LlamaPeer::measure(const PeerRequest& request) {
  const std::string line = Json::object()
                               .set("depth", request.depth)
                               .set("batch", request.batch)
                               .set("tokens", request.tokens)
                               .set("prefill", request.prefill)
                               .dump() +
                           "\n";
  for (size_t at = 0; at < line.size();) {
    const ssize_t n = ::write(process_->to, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error("llama.cpp's process has ended");
    at += static_cast<size_t>(n);
  }
  return read_line().get_number("seconds");
}

}  // namespace r1
