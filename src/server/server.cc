#include "server/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <utility>

#include "base/error.h"
#include "formats/json.h"
#include "formats/shown.h"
#include "model/kv_cache.h"
#include "server/api_error.h"
#include "server/etag.h"
#include "server/generation.h"
#include "server/messages_error.h"
#include "server/messages_request.h"
#include "server/page.h"
#include "server/text_routes.h"
#include "server/url_text.h"
#include "server/work_queue.h"

namespace r1 {
namespace {

// The name of a host in a Host header or an origin, without port and brackets.
std::string_view host_name(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.rfind(':'));
}

constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kChat = "/v1/chat/completions";
constexpr std::string_view kCompletions = "/v1/completions";
constexpr std::string_view kMessages = "/v1/messages";
constexpr std::string_view kCountTokens = "/v1/messages/count_tokens";
constexpr std::string_view kGets[] = {"/health", "/metrics", kModels};
constexpr std::string_view kPosts[] = {kChat,       kCompletions,  kMessages,        kCountTokens,
                                       "/tokenize", "/detokenize", "/apply-template"};
// Computes the pages of a prompt, for later requests that begin with it.
class ReadAgain final : public Job {
 public:
  ReadAgain(std::vector<int32_t> prompt, std::string of) {
    owner = std::move(of);
    requests.push_back({.prompt = std::move(prompt),
                        .opening = {},
                        .max_tokens = 1,
                        .sampling = {},
                        .key = {},
                        .stop_tokens = {},
                        .owner = owner});
  }
  Action token(size_t, Events::Token&) override { return {}; }
  void ended(size_t, const Completion&) override {}
  void finished() override {}
  void late() override {}
  void failed(const ApiError&) override {}
  void cancelled() override {}
};

constexpr int64_t kMostCompiling = 64;  // requests that wait for their grammars
constexpr int64_t kMostRunReads = 64;   // requests of the Runs view that wait

}  // namespace

int64_t context_length(const Model& model, Context& ctx, int64_t kv_bytes) {
  const ModelConfig& config = model.config();
  // Without a bound, a quarter of the free memory is left to others, as in the engine.
  const int64_t bytes = kv_bytes > 0 ? kv_bytes : static_cast<int64_t>(model.memory().free_bytes()) / 4 * 3;
  if (bytes == 0) return config.max_positions;  // unknown
  const int64_t pages = bytes / KvCache::bytes_per_page(config, ctx.row().cache);
  return std::clamp<int64_t>(pages * kKeyTile, 0, config.max_positions);
}

struct Server::Impl {
  Impl(const ModelBundle& bundle, Context& ctx, const ServerOptions& o, LogLine log)
      : options(o),
        serving(bundle, o.name, std::string(name_of(ctx.numerics)),
                context_length(bundle.model, ctx, o.kv_bytes), std::move(log), o.keys.quotas()),
        http(o.host, o.port, o.http,
             [this](ServerRequest request, std::shared_ptr<HttpReply> reply) {
               handle(std::move(request), std::move(reply));
             }),
        loop(bundle.model, ctx,
             {.engine = {.max_batch = o.max_batch,
                         .prefill_chunk = o.prefill_chunk,
                         .kv_bytes = o.kv_bytes,
                         .lookahead = o.lookahead},
              .max_queue = o.max_queue}),
        preparing(o.max_queue + o.max_batch),
        compiling(kMostCompiling),
        reading(kMostRunReads) {
    serving.read_again = [this](ApiRequest turn, std::string owner) {
      read_again(std::move(turn), std::move(owner));
    };
    process = std::random_device{}();
    created = std::time(nullptr);
  }

  ~Impl() {
    const std::lock_guard lock(mutex);
    closing = true;  // the queues end before the engine's thread, which would use them
  }

  void handle(ServerRequest request, std::shared_ptr<HttpReply> reply);
  void route(ServerRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply);
  void check_caller(const ServerRequest& request) const;
  void check_route(const ServerRequest& request) const;
  void read_runs(ServerRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply);
  ServerResponse get(const std::string& target);
  void post(const ServerRequest& request, RequestInfo info, const std::shared_ptr<HttpReply>& reply);
  void generate(ApiRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply);
  void start(ApiRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply,
             AnswerGrammars::Shared grammar);
  void answer_errors(const RequestInfo& info, const std::shared_ptr<HttpReply>& reply,
                     const std::function<void()>& work);
  void read_again(ApiRequest turn, std::string owner);
  void check_model(const std::optional<std::string>& name) const;
  void note_unknown(const std::string& route, const std::vector<std::string>& fields);
  void answer(const RequestInfo& info, const std::shared_ptr<HttpReply>& reply, ServerResponse response,
              const std::string& why);
  void answer(const RequestInfo& info, const std::shared_ptr<HttpReply>& reply, const ApiError& error) {
    const bool is_message = info.route == kMessages || info.route == kCountTokens;
    answer(info, reply, is_message ? messages_error_response(error, info.id) : error_response(error),
           error.what());
  }
  Json model_json() const;
  std::string next_id(std::string_view target);

  const ServerOptions options;
  Serving serving;
  std::atomic<bool> draining = false;
  std::mutex mutex;
  std::set<std::string> noted;  // unknown fields that the log has named
  bool closing = false;
  uint32_t process = 0;
  std::atomic<uint64_t> requests = 0;
  int64_t created = 0;
  HttpServer http;  // outlives the threads that answer
  EngineLoop loop;
  WorkQueue preparing;
  WorkQueue compiling;  // grammars that are not known yet, so that a large one keeps no other request waiting
  WorkQueue reading;    // files of runs
};

std::string Server::Impl::next_id(std::string_view target) {
  if (target == kMessages) return fmt::format("msg_{:08x}{:08x}", process, ++requests);
  const char* prefix = target == kChat ? "chatcmpl" : target == kCompletions ? "cmpl" : "req";
  return fmt::format("{}-{:08x}{:08x}", prefix, process, ++requests);
}

// Web pages of other origins may not use the server: there is no CORS, and a page that has given its own name
// the server's address (DNS rebinding) gives itself away by the Host header.
void Server::Impl::check_caller(const ServerRequest& request) const {
  const std::string_view name = host_name(request.host);
  const bool is_address = name.find_first_not_of("0123456789.") == std::string_view::npos ||
                          name.find(':') != std::string_view::npos;
  if (http.is_loopback() && !request.host.empty() && !is_address && name != "localhost" &&
      name != options.host && std::ranges::find(options.server_names, name) == options.server_names.end())
    throw ApiError(fmt::format("the host {} is not this server", shown(name)), {.status = 403});
  // A reverse proxy may have taken TLS off.
  if (!request.origin.empty() && request.origin != "http://" + request.host &&
      request.origin != "https://" + request.host)
    throw ApiError("web pages of other origins may not use this server", {.status = 403});
}

void Server::Impl::check_route(const ServerRequest& request) const {
  const std::string& target = request.target;
  const bool is_model = target.starts_with(std::string(kModels) + "/");
  if (is_page_target(target)) return;  // which checks the rest itself
  const bool gets =
      is_model || Runs::is_target(target) || std::ranges::find(kGets, target) != std::end(kGets);
  const bool posts = std::ranges::find(kPosts, target) != std::end(kPosts);
  if (!gets && !posts) throw ApiError(fmt::format("there is no {}", shown(target)), {.status = 404});
  if (request.method != (gets ? "GET" : "POST"))
    throw ApiError(fmt::format("{} takes {} only", shown(target), gets ? "GET" : "POST"), {.status = 405});
}

// On the socket thread: answers what is known, and hands the rest on.
void Server::Impl::handle(ServerRequest request, std::shared_ptr<HttpReply> reply) {
  RequestInfo info{
      .id = next_id(request.target), .route = "other", .owner = {}, .arrival = Job::Clock::now()};
  try {
    check_route(request);
    info.route = request.target.starts_with(kModels) ? std::string(kModels)
                 : is_page_target(request.target)    ? "/"
                                                     : request.target;
    check_caller(request);
    if (is_page_target(request.target)) return answer(info, reply, page_response(request), "");
    if (request.target != "/health") {
      const bool has_other = request.authorization.empty() && !request.api_key.empty();
      const std::optional<std::string> owner =
          options.keys.owner_of(has_other ? "Bearer " + request.api_key : request.authorization);
      if (!owner) {
        throw ApiError(
            "the API key is missing or wrong: send the header Authorization: Bearer KEY, or X-Api-Key: KEY",
            {.status = 401, .code = "invalid_api_key"});
      }
      info.owner = *owner;
    }
    route(std::move(request), info, reply);
  } catch (const ApiError& e) {
    answer(info, reply, e);
  } catch (const std::exception& e) {
    answer(info, reply, ApiError(fmt::format("internal error: {}", e.what()), {.status = 500}));
  }
}

void Server::Impl::route(ServerRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply) {
  if (Runs::is_target(request.target)) return read_runs(std::move(request), std::move(info), reply);
  if (request.method == "GET") return answer(info, reply, get(request.target), "");
  const auto work = [this, request = std::make_shared<ServerRequest>(std::move(request)), info, reply] {
    answer_errors(info, reply, [&] { post(*request, info, reply); });
  };
  if (!preparing.post(work)) {
    throw ApiError("the server is busy: too many requests are arriving",
                   {.status = 429, .code = "queue_full", .retry_after_s = 1});
  }
}

// Runs `work`, and answers its exceptions.
void Server::Impl::answer_errors(const RequestInfo& info, const std::shared_ptr<HttpReply>& reply,
                                 const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    answer(info, reply, api_error_of(e));
  } catch (const std::bad_alloc&) {
    answer(info, reply, ApiError("out of memory", {.status = 503, .retry_after_s = 5}));
  } catch (const std::exception& e) {
    answer(info, reply, ApiError(fmt::format("internal error: {}", e.what()), {.status = 500}));
  }
}

// Files may be large and disks slow, so another thread reads them.
void Server::Impl::read_runs(ServerRequest request, RequestInfo info,
                             const std::shared_ptr<HttpReply>& reply) {
  const auto work = [this, request = std::move(request), info, reply] {
    try {
      ServerResponse response{.body = options.runs.answer(request.target, request.query).dump()};
      const std::string tag = entity_tag(response.body);
      answer(info, reply, revalidated(std::move(response), tag, request.if_none_match), "");
    } catch (const ApiError& e) {
      answer(info, reply, e);
    } catch (const std::exception& e) {
      answer(info, reply, ApiError(fmt::format("internal error: {}", e.what()), {.status = 500}));
    }
  };
  if (!reading.post(work))
    throw ApiError("too many requests for runs are waiting",
                   {.status = 429, .code = "queue_full", .retry_after_s = 1});
}

Json Server::Impl::model_json() const {
  Json model = Json::object();
  model.set("id", serving.name).set("object", "model").set("created", created).set("owned_by", "r1");
  return model.set("max_model_len", serving.context).set("context_length", serving.context);
}

ServerResponse Server::Impl::get(const std::string& target) {
  if (target == "/health") {
    const bool ends = draining;
    return {.status = ends ? 503 : 200,
            .body = Json::object().set("status", ends ? "draining" : "ok").dump()};
  }
  if (target == "/metrics") {
    return {.body = serving.metrics.text(loop.state(), http.connections()),
            .content_type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (target == kModels) {
    Json list = Json::object();
    list.set("object", "list").set("data", Json::array().push_back(model_json()));
    return {.body = list.dump()};
  }
  check_model(percent_decoded(std::string_view(target).substr(kModels.size() + 1)));
  return {.body = model_json().dump()};
}

void Server::Impl::check_model(const std::optional<std::string>& name) const {
  if (!name || *name == serving.name) return;
  throw ApiError(fmt::format("the model {} does not exist; this server has {}", shown(*name), serving.name),
                 {.status = 404, .param = "model", .code = "model_not_found"});
}

// On the preparing thread.
void Server::Impl::post(const ServerRequest& request, RequestInfo info,
                        const std::shared_ptr<HttpReply>& reply) {
  const Json body = parse_json(request.body, kRequestSource);
  if (!body.is_object()) throw ApiError("the body must be a JSON object", {});
  const RequestDefaults defaults{.sampling = serving.bundle.sampling,
                                 .vocab_size = serving.bundle.model.config().vocab_size};
  const std::string& target = request.target;
  if (target == kChat) return generate(read_chat_request(body, defaults), std::move(info), reply);
  if (target == kCompletions)
    return generate(read_completion_request(body, defaults), std::move(info), reply);
  if (target == kMessages) return generate(read_messages_request(body, defaults), std::move(info), reply);
  TextAnswer out = target == kCountTokens    ? count_route(serving, body)
                   : target == "/tokenize"   ? tokenize_route(serving, body)
                   : target == "/detokenize" ? detokenize_route(serving, body)
                                             : template_route(serving, body);
  check_model(out.model);
  note_unknown(info.route, out.unknown_fields);
  answer(info, reply, {.body = out.body.dump()}, "");
}

void Server::Impl::generate(ApiRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply) {
  check_model(request.model);
  note_unknown(info.route, request.unknown_fields);
  serving.quotas.begin(info.owner, info.arrival);
  if (!request.is_structured()) return start(std::move(request), std::move(info), reply, nullptr);
  const ToolSyntax& syntax = serving.builder.tools().syntax();
  const std::string key = AnswerGrammars::key_of(request.structure, request.tools, syntax);
  if (AnswerGrammars::Shared known = serving.grammars.find(key))
    return start(std::move(request), std::move(info), reply, std::move(known));
  const auto shared = std::make_shared<ApiRequest>(std::move(request));
  const auto compile = [this, shared, info, reply, key, &syntax] {
    answer_errors(info, reply, [&] {
      AnswerGrammars::Shared made = serving.grammars.make(key, shared->structure, shared->tools, syntax);
      start(std::move(*shared), info, reply, std::move(made));
    });
  };
  if (!compiling.post(compile)) {
    throw ApiError("the server is busy: too many new schemas and grammars are waiting",
                   {.status = 429, .code = "queue_full", .retry_after_s = 1});
  }
}

// On the preparing thread, or on the one that compiles.
void Server::Impl::start(ApiRequest request, RequestInfo info, const std::shared_ptr<HttpReply>& reply,
                         AnswerGrammars::Shared grammar) {
  const auto job = std::make_shared<Generation>(std::move(request), info, reply, serving, std::move(grammar));
  job->deadline = info.arrival + std::chrono::duration_cast<Job::Clock::duration>(
                                     std::chrono::duration<double>(options.timeout_s));
  loop.submit(job);
  // After the submission: a client that has gone already is cancelled at once.
  reply->on_gone([this, weak = std::weak_ptr<Job>(job)] {
    if (std::shared_ptr<Job> gone = weak.lock()) loop.cancel(std::move(gone));
  });
}

// On the engine's thread. The prompt is built on the preparing one.
void Server::Impl::read_again(ApiRequest turn, std::string owner) {
  const auto shared = std::make_shared<ApiRequest>(std::move(turn));
  const std::lock_guard lock(mutex);
  if (closing) return;
  preparing.post([this, shared, owner = std::move(owner)] {
    try {
      BuiltPrompt prompt = serving.builder.chat(*shared, false, shared->effort.has_value());
      if (std::ssize(prompt.tokens) >= serving.context) return;
      loop.submit_idle(std::make_shared<ReadAgain>(std::move(prompt.tokens), owner));
    } catch (const std::exception&) {
      // The template may refuse a conversation without a next turn. Then there is nothing to prepare. Its words
      // may be the conversation's, which are not logged.
      serving.log("the next turn of a conversation cannot be prepared");
    }
  });
}

void Server::Impl::note_unknown(const std::string& route, const std::vector<std::string>& fields) {
  constexpr size_t kMostNoted = 1000;
  for (const std::string& name : fields) {
    {
      const std::lock_guard lock(mutex);
      if (noted.size() >= kMostNoted || !noted.insert(name).second) continue;
    }
    serving.log(
        fmt::format("{}: the field {} is not known and was ignored (this is said once)", route, shown(name)));
  }
}

void Server::Impl::answer(const RequestInfo& info, const std::shared_ptr<HttpReply>& reply,
                          ServerResponse response, const std::string& why) {
  const int status = response.status;
  response.headers.emplace_back("X-Request-Id", info.id);
  serving.metrics.count_request(info.route, status);
  reply->send(std::move(response));
  // Routes that are asked for every few seconds, and the files of the page, would only fill the log.
  const bool is_quiet =
      info.route == "/health" || info.route == "/metrics" || info.route == "/" || Runs::is_target(info.route);
  if (is_quiet && (status == 200 || status == 304)) return;
  serving.log(fmt::format("{} {} {} total_s={:.3f}{}", info.id, info.route, status,
                          std::chrono::duration<double>(Job::Clock::now() - info.arrival).count(),
                          why.empty() ? "" : " error: " + why));
}

Server::Server(const ModelBundle& bundle, Context& ctx, const ServerOptions& options, LogLine log)
    : impl_(std::make_unique<Impl>(bundle, ctx, options, std::move(log))) {}
Server::~Server() = default;

std::string Server::url() const {
  const std::string address = impl_->http.address();
  const bool is_ipv6 = address.find(':') != std::string::npos;
  return fmt::format("http://{}:{}", is_ipv6 ? "[" + address + "]" : address, impl_->http.port());
}
int Server::port() const {
  return impl_->http.port();
}
int64_t Server::context() const {
  return impl_->serving.context;
}
EngineLoop::State Server::state() const {
  return impl_->loop.state();
}
void Server::run() {
  impl_->http.run();
}
void Server::drain() {
  impl_->draining = true;
  impl_->loop.drain();
  impl_->http.drain();
}
void Server::stop() {
  impl_->draining = true;
  impl_->loop.abandon();
  impl_->http.stop();
}

}  // namespace r1
