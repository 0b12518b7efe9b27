// server/server.h: `r1 serve`: a model behind OpenAI's HTTP API and Anthropic's messages.
//
// Four threads: run()'s reads and writes sockets (server/http_server.h); one reads requests and builds prompts,
// so that a long prompt keeps no stream waiting; one compiles new schemas and grammars; one is the engine's
// (server/engine_loop.h). No socket is opened but those that clients ask for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_bundle.h"
#include "server/api_keys.h"
#include "server/http_server.h"
#include "server/runs.h"
#include "server/serving.h"

namespace r1 {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8000;   // 0: any free one
  std::string name;  // of the model, as clients call it
  ApiKeys keys;
  // Further names that browsers may know the server by, such as that of a reverse proxy in front of it.
  std::vector<std::string> server_names;
  Runs runs;  // that the page shows
  int64_t max_queue = 256, max_batch = 64, prefill_chunk = 512, lookahead = 7;
  int64_t kv_bytes = 0;    // see EngineOptions
  double timeout_s = 600;  // of a request, from its arrival to the end of its answer
  HttpLimits http;
};

// Tokens that prompt and answer of one request can have together: the model's context, or what the KV cache
// has memory for.
int64_t context_length(const Model& model, Context& ctx, int64_t kv_bytes);

class Server {
 public:
  // Listens. Model and context outlive the server; nobody else uses the context. Throws Error.
  Server(const ModelBundle& bundle, Context& ctx, const ServerOptions& options, LogLine log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::string url() const;
  int port() const;
  int64_t context() const;
  // Serves until drain() has come to its end, or until stop(). Called once.
  void run();
  // Takes no further requests; run() returns when the answers in progress are complete. Any thread.
  void drain();
  // Ends the answers in progress with an error. Any thread.
  void stop();
  EngineLoop::State state() const;  // any thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
