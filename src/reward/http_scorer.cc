#include "reward/http_scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include "base/error.h"
#include "base/http_client.h"
#include "formats/json.h"
#include "formats/shown.h"

namespace r1 {
namespace {

using Batch = std::vector<size_t>;

}  // namespace

struct HttpScorer::Impl {
  HttpConfig config;
  HttpUrl address;
  bool ever_answered = false;
  int64_t retried = 0, twice = 0;
  std::string last_retry, last_twice;

  std::span<const RowToScore> rows;
  std::vector<ScoreAnswer> answers;
  std::deque<Batch> waiting;
  int64_t left = 0, failed_requests = 0;
  std::atomic<bool> stop{false};
  std::mutex mutex;  // guards all members above except config, address and rows
  std::condition_variable changed;

  void settle(size_t row, ScoreAnswer answer) {
    if (answer.status == SampleStatus::verifier_failed) {
      answer.why = fmt::format("{}: {}", config.name, answer.why);
    } else {
      ever_answered = true;
    }
    answers[row] = std::move(answer);
    --left;
  }

  // Queues the unanswered rows of `batch` to be tried again alone, or lets the row fail if it was alone.
  void give_up(const Batch& batch, std::string_view why, bool alone) {
    ++failed_requests;
    if (alone) {
      settle(batch.front(), {.why = std::string(why)});
      return;
    }
    ++retried;
    last_retry = why;
    for (const size_t row : batch) waiting.push_back({row});
  }

  // Settles the rows that the body answers. Returns the other rows.
  Batch read(const Batch& batch, const std::string& body, std::string& why) {
    std::unordered_map<std::string, size_t> open;
    std::set<std::string> taken;
    for (const size_t row : batch) open.emplace(rows[row].id, row);
    try {
      const Json json = parse_json(body, "its body");
      for (const Json& answer : json.at("scores").items()) {
        const std::string& id = answer.get_string("id");
        const auto at = open.find(id);
        if (at != open.end()) {
          settle(at->second, read_score(answer));
          taken.insert(id);
          open.erase(at);
        } else if (taken.contains(id)) {
          ++twice;
          last_twice = id;
        } else {
          why = fmt::format("it answered {}, which it was not asked", shown(id));
          break;
        }
      }
    } catch (const Error& e) {
      why = e.what();
    }
    Batch rest;
    for (const size_t row : batch) {
      if (open.contains(rows[row].id)) rest.push_back(row);
    }
    if (!rest.empty() && why.empty())
      why = fmt::format("its body has no answer for {}", rows[rest.front()].id);
    return rest;
  }

  // Sends one body. A request is not repeated as it is: its rows are asked again alone.
  std::string post(HttpClient& client, const std::string& body) const {
    const HttpResponse response = client.send(
        {.method = "POST", .url = address, .headers = {{"Content-Type", "application/json"}}, .body = body});
    if (response.status != 200) throw Error(fmt::format("it answered with status {}", response.status));
    return response.body;
  }

  void handle(HttpClient& client, const Batch& batch, std::unique_lock<std::mutex>& lock) {
    std::string body = "{\"rows\":[", why;
    for (const size_t row : batch) body += (row == batch.front() ? "" : ",") + rows[row].json;
    body += "]}";
    lock.unlock();
    std::string answer;
    try {
      answer = post(client, body);
    } catch (const std::exception& e) {
      why = e.what();
    }
    lock.lock();
    const Batch rest = why.empty() ? read(batch, answer, why) : batch;
    if (!rest.empty()) give_up(rest, why, batch.size() == 1);
  }

  void work() {
    HttpClient client({.connect_s = config.timeout_s,
                       .idle_s = config.timeout_s,
                       .total_s = config.timeout_s,
                       .stop = [this] { return stop.load(); },
                       .on_wait = {}});
    std::unique_lock lock(mutex);
    while (left > 0 && !stop.load()) {
      if (waiting.empty()) {
        changed.wait(lock);
        continue;
      }
      const Batch batch = std::move(waiting.front());
      waiting.pop_front();
      if (!ever_answered && failed_requests >= kHopelessRequests) {
        for (const size_t row : batch)
          settle(row,
                 {.why = fmt::format("its first {} requests have failed ({})", failed_requests, last_retry)});
      } else {
        handle(client, batch, lock);
      }
      changed.notify_all();
    }
    changed.notify_all();
  }
};

HttpScorer::HttpScorer(const HttpConfig& config) : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->address = parse_http_url(config.url);
}
HttpScorer::~HttpScorer() = default;

std::vector<ScoreAnswer> HttpScorer::ask(std::span<const RowToScore> rows,
                                         const std::function<void()>& tick) {
  Impl& http = *impl_;
  http.rows = rows;
  http.answers.assign(rows.size(), {});
  http.waiting.clear();
  http.left = std::ssize(rows);
  http.failed_requests = 0;
  http.stop = false;
  const auto size = static_cast<size_t>(http.config.batch);
  for (size_t begin = 0; begin < rows.size(); begin += size) {
    Batch& batch = http.waiting.emplace_back();
    for (size_t i = begin; i < std::min(begin + size, rows.size()); ++i) batch.push_back(i);
  }
  std::vector<std::jthread> threads;  // joined on every exit from this function
  for (int64_t i = 0; i < std::min<int64_t>(http.config.parallel, std::ssize(rows)); ++i)
    threads.emplace_back([&http] { http.work(); });
  try {
    std::unique_lock lock(http.mutex);
    while (http.left > 0) {
      http.changed.wait_for(lock, std::chrono::milliseconds(100));
      lock.unlock();
      if (tick) tick();
      lock.lock();
    }
  } catch (...) {
    http.stop = true;
    http.changed.notify_all();
    throw;
  }
  threads.clear();
  return std::move(http.answers);
}

std::vector<std::string> HttpScorer::take_notes() {
  Impl& http = *impl_;
  std::vector<std::string> notes;
  if (http.retried > 0)
    notes.push_back(fmt::format(
        "reward endpoint {}: {} request{} failed and the rows were asked again; the last because {}",
        http.config.name, http.retried, http.retried == 1 ? "" : "s", http.last_retry));
  if (http.twice > 0)
    notes.push_back(repeated_answers("reward endpoint " + http.config.name, http.twice, http.last_twice));
  http.retried = http.twice = 0;
  return notes;
}

}  // namespace r1
