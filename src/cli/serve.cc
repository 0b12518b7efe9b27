// cli/serve.cc: `r1 serve`.
#include <fmt/format.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "cli/bounds.h"
#include "cli/caught_signals.h"
#include "cli/common.h"
#include "cli/output.h"
#include "server/server.h"

namespace r1 {
namespace {

void check_serve_options(const ServeOptions& options) {
  check_common(options.common);
  check_between("--port", options.port, 0, 65535);
  check_between("--max-batch", options.max_batch, 1, kMostBatch);
  check_between("--max-queue", options.max_queue, 1, kMostBatch);
  check_between("--prefill-chunk", options.prefill_chunk, 1, kMostPrefillChunk);
  constexpr double kDay = 86400;
  if (!(options.timeout_s > 0 && options.timeout_s <= kDay))
    throw Error(
        fmt::format("--timeout is {}; it must be more than 0 and at most {}", options.timeout_s, kDay));
  if (!(options.drain_s >= 0 && options.drain_s <= kDay))
    throw Error(fmt::format("--drain is {}; it must be between 0 and {}", options.drain_s, kDay));
}

std::string model_name(const ServeOptions& options, const std::filesystem::path& directory) {
  if (!options.name.empty()) return options.name;
  const std::filesystem::path whole = std::filesystem::absolute(directory).lexically_normal();
  const std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  return name.ends_with(".gguf") ? name.substr(0, name.size() - 5) : name;
}

// Lines come from several threads.
void log_line(const std::string& line) {
  static std::mutex mutex;
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char stamp[32];
  const size_t size = std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts);
  const std::lock_guard lock(mutex);
  write_stderr(fmt::format("{} {}\n", std::string_view(stamp, size), line));
}

void show_address(const ServeOptions& options, const Server& server, const std::string& name) {
  if (options.common.json) {
    Json out = Json::object();
    out.set("url", server.url())
        .set("port", server.port())
        .set("model", name)
        .set("context", server.context());
    write_stdout(out.dump() + "\n");
  } else {
    write_stdout(fmt::format("{} listens on {} (context {} tokens)\n", name, server.url(), server.context()));
  }
}

// Waits for a signal, for at most `seconds` (below 0: forever), or until `is_over`.
bool wait_for_signal(double seconds, const std::atomic<bool>& is_over) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                     std::chrono::duration<double>(std::max(seconds, 0.0)));
  pollfd wake{.fd = CaughtSignals::wake_fd(), .events = POLLIN, .revents = 0};
  while (!is_over) {
    if (seconds >= 0 && Clock::now() >= until) return false;
    if (::poll(&wake, 1, 100) > 0) {
      CaughtSignals::clear_wake();
      return true;
    }
  }
  return false;
}

}  // namespace

int run_serve(const ServeOptions& options) {
  check_serve_options(options);
  const Runs runs({options.runs.begin(), options.runs.end()});
  const ApiKeys keys = options.keys.empty() ? ApiKeys() : ApiKeys::load(options.keys);
  const std::filesystem::path directory = resolve_model(options.model);
  const SamplingModel model = SamplingModel::load_guessing(options.common, directory);
  const ModelBundle& bundle = model.tokenized();
  Runtime runtime(options.common, bundle.model, model.numerics);
  ServerOptions server_options{.host = options.host,
                               .port = static_cast<int>(options.port),
                               .name = model_name(options, directory),
                               .keys = keys,
                               .server_names = options.server_names,
                               .runs = runs,
                               .max_queue = options.max_queue,
                               .max_batch = options.max_batch,
                               .prefill_chunk = options.prefill_chunk,
                               .lookahead = options.common.lookahead,
                               .kv_bytes = runtime.kv_bytes(),
                               .timeout_s = options.timeout_s,
                               .http = {}};
  const CaughtSignals caught({SIGINT, SIGTERM, SIGHUP});
  Server server(bundle, runtime.ctx, server_options, log_line);
  show_address(options, server, server_options.name);
  std::atomic<bool> over = false;
  std::thread sockets([&] {
    server.run();
    over = true;
  });
  if (wait_for_signal(-1, over)) {
    log_line("shutting down: answers in progress may end");
    server.drain();
    if (wait_for_signal(options.drain_s, over) || !over) server.stop();
  }
  sockets.join();
  log_line("the server has stopped");
  return 0;
}

}  // namespace r1
