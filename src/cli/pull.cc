// cli/pull.cc: `r1 pull`: downloads a model from the hub into the cache.
#include "cli/pull.h"

#include <fmt/format.h>

#include <iostream>

#include "base/ascii.h"
#include "base/error.h"
#include "cli/caught_signals.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/pull_progress.h"
#include "engine/find_model.h"
#include "formats/shown.h"

namespace r1 {
namespace {

struct Pulled {
  PullResult result;
  int64_t downloaded = 0;
  double seconds = 0;
};

// Ends the process if a signal stops it.
Pulled pull_now(const HubName& name, const HubSettings& settings, int64_t connections) {
  PullProgress progress;
  int signal = 0;
  {
    const CaughtSignals caught({SIGINT, SIGTERM, SIGHUP});
    const auto stopped = [] {
      return CaughtSignals::seen(SIGINT) || CaughtSignals::seen(SIGTERM) || CaughtSignals::seen(SIGHUP);
    };
    try {
      PullResult result = pull_model(
          name, settings, {.connections = static_cast<int>(connections), .stop = stopped}, progress);
      return {std::move(result), progress.transferred(), progress.seconds()};
    } catch (const HttpError& e) {
      if (e.kind != HttpError::Kind::stopped) throw;
      signal = CaughtSignals::seen(SIGINT) ? SIGINT : seen_termination();
    }
  }
  if (signal == 0) throw Error("the download was stopped");
  progress.note(fmt::format("interrupted: {} of {} bytes are here. To go on: r1 pull {}", progress.present(),
                            progress.total(), name.text()));
  end_by_signal(signal);
}

}  // namespace

int run_pull(const PullCommandOptions& options) {
  check_common(options.common);
  constexpr int64_t kMostConnections = 32;
  if (options.connections < 1 || options.connections > kMostConnections)
    throw Error(fmt::format("--connections is {}; it must be between 1 and {}", options.connections,
                            kMostConnections));
  const HubName name = hub_name_of(options.model);
  const HubSettings settings = hub_settings();
  const Pulled pulled = pull_now(name, settings, options.connections);
  int64_t bytes = 0;
  Json files = Json::array();
  for (const PulledFile& f : pulled.result.files) {
    bytes += f.bytes;
    files.push_back(Json::object()
                        .set("path", f.path)
                        .set("bytes", f.bytes)
                        .set("downloaded", f.downloaded)
                        .set("hash", f.hash));
  }
  if (options.common.json) {
    Json json = Json::object();
    json.set("model", name.text())
        .set("commit", pulled.result.commit)
        .set("path", pulled.result.path.string());
    json.set("bytes", bytes).set("downloaded", pulled.downloaded).set("seconds", pulled.seconds);
    json.set("files", std::move(files));
    write_stdout(json.dump() + "\n");
  } else {
    write_stdout(pulled.result.path.string() + "\n");
  }
  return 0;
}

std::filesystem::path resolve_or_pull(const std::string& name) {
  const auto hub = read_hub_name(name);
  std::error_code none;
  if (!hub || std::filesystem::exists(name, none) || find_model(name) || !stdin_is_terminal() ||
      !stderr_is_terminal())
    return resolve_model(name);
  const HubSettings settings = hub_settings();
  if (settings.offline) return resolve_model(name);
  write_stderr(fmt::format("{} is not in the cache {}. Download it from {}? [y/N] ", hub->text(),
                           settings.cache.string(), settings.endpoint.origin()));
  std::string answer;
  std::getline(std::cin, answer);
  const std::string_view word = trim(answer);
  if (!equal_ignoring_case(word, "y") && !equal_ignoring_case(word, "yes")) return resolve_model(name);
  return pull_now(*hub, settings, PullOptions().connections).result.path;
}

}  // namespace r1
