// bench/gpu_sampling.cc: how fast the engine samples on a GPU, for the shapes of published models with random weights.
//
//   gpu_sampling [--numerics NAME] [--new N] [--prompt N] [--repeat N] [--kernels] SHAPE:SEQUENCES[,SEQUENCES...] ...
//
// SHAPE: qwen3-0.6b, qwen2-1.5b, smollm2-135m, zero-10m, or a config.json. Each sequence has a prompt of its own and
// makes N tokens at temperature 1; stop tokens are ignored. The time is that of Engine::run(), prefill included, the
// median of the repeats after one to warm up.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/graph_decoder.h"
#include "formats/json.h"
#include "model/config.h"
#include "tensor/cuda.h"
#include "tensor/transfer.h"
#include "tensor/workspace.h"

namespace r1 {
namespace {

std::string json_of(const std::string& shape) {
  const auto llama = [](const char* type, int d, int f, int layers, int heads, int groups, int head,
                        int vocab, bool tied) {
    std::ostringstream out;
    out << R"({"model_type": ")" << type << R"(", "hidden_size": )" << d << R"(, "intermediate_size": )" << f
        << R"(, "num_hidden_layers": )" << layers << R"(, "num_attention_heads": )" << heads
        << R"(, "num_key_value_heads": )" << groups << R"(, "head_dim": )" << head << R"(, "vocab_size": )"
        << vocab
        << R"(, "max_position_embeddings": 8192, "rope_theta": 1000000, "rms_norm_eps": 1e-6, "hidden_act": "silu", )"
        << R"("tie_word_embeddings": )" << (tied ? "true" : "false") << "}";
    return out.str();
  };
  if (shape == "qwen3-0.6b") return llama("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, true);
  if (shape == "qwen2-1.5b") return llama("qwen2", 1536, 8960, 28, 12, 2, 128, 151936, false);
  if (shape == "smollm2-135m") return llama("llama", 576, 1536, 30, 9, 3, 64, 49152, true);
  if (shape == "zero-10m") return llama("llama", 384, 1024, 6, 6, 6, 64, 64, false);
  std::ifstream file(shape);
  if (!file) throw Error("shape " + shape + " is unknown, and there is no such config.json");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Options {
  std::string numerics = "cuda-bf16";
  bool kernels = false;  // print the time of each kernel
  int64_t new_tokens = 256, prompt = 32, repeat = 3;
};

void bench(const Model& model, const std::string& shape, int64_t sequences, const Options& o) {
  ThreadPool threads(1);
  Workspace work(threads, numerics_from_name(o.numerics), cuda_memory());
  Engine engine(model, work.ctx, {.max_batch = sequences, .prefill_chunk = 16384});
  std::vector<Request> requests(static_cast<size_t>(sequences));
  std::vector<double> seconds;
  double first_token = 0;  // seconds until every sequence has one: the last repeat makes no more
  for (int64_t repeat = 0; repeat <= o.repeat + 1; ++repeat) {
    const int64_t wanted = repeat <= o.repeat ? o.new_tokens : 1;
    for (int64_t i = 0; i < sequences; ++i) {
      Request& r = requests[static_cast<size_t>(i)];
      r.prompt.resize(static_cast<size_t>(o.prompt));
      for (int64_t t = 0; t < o.prompt; ++t)
        r.prompt[static_cast<size_t>(t)] =
            static_cast<int32_t>((i * 7919 + t * 104729 + repeat * 31) % model.config().vocab_size);
      r.max_tokens = wanted;
      r.stop_tokens.clear();
      r.key.prompt = static_cast<uint32_t>(i);
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<Completion> done = engine.run(requests);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const Completion& c : done)
      if (std::ssize(c.tokens) != wanted) throw Error("a sample ended early");
    if (wanted < o.new_tokens) first_token = took;
    if (repeat > 0 && wanted == o.new_tokens) seconds.push_back(took);
  }
  std::ranges::sort(seconds);
  const double median = seconds[seconds.size() / 2];
  const auto tokens = static_cast<double>(sequences * o.new_tokens);
  std::printf(
      "sampling %-14s %5lld sequences  %8.3f s  %9.0f tok/s  %8.1f us per step, %.1f us behind the first of "
      "%.1f ms\n",
      shape.c_str(), static_cast<long long>(sequences), median, tokens / median,
      median / static_cast<double>(o.new_tokens) * 1e6,
      (median - first_token) / static_cast<double>(std::max<int64_t>(o.new_tokens - 1, 1)) * 1e6,
      first_token * 1e3);
  std::fflush(stdout);
}

// The forward of a decoding step alone, at a depth in the middle of a sample: what the device needs at least.
void bench_forward(const Model& model, int64_t count, const Options& o) {
  ThreadPool threads(1);
  Workspace work(threads, numerics_from_name(o.numerics), cuda_memory());
  const int64_t depth = o.prompt + o.new_tokens / 2, pages = KvCache::pages_for(depth + 1);
  const KvCache kv(model.config(), count * pages, work.ctx.row().cache, cuda_memory());
  GraphDecoder decoder(model, work.ctx);
  Group group;
  std::deque<Sequence> sequences;
  std::vector<ScheduledRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    Sequence& s = sequences.emplace_back();
    s.group = &group;
    s.tokens.assign(static_cast<size_t>(depth + 1), static_cast<int32_t>(i % model.config().vocab_size));
    for (int64_t p = 0; p < pages; ++p) s.pages.push_back(static_cast<int32_t>(p * count + i));
    rows.push_back({.sequence = &s, .begin = depth, .end = depth + 1});
  }
  float read = 0;
  const auto steps = [&](int64_t n) {
    const auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < n; ++i) {
      const OpScope scope(work.ctx);
      const Tensor logits = decoder.forward(rows, kv);
      if (i + 1 == n) read_values(cuda_memory(), logits, 0, {&read, 1}, work.ctx.stream);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  steps(3);
  constexpr int64_t kSteps = 30;
  const double took = steps(kSteps);
  std::printf("  forward alone at depth %lld: %8.1f us, %lld launches\n", static_cast<long long>(depth),
              took / kSteps * 1e6, static_cast<long long>(decoder.counts().launches));
  if (o.kernels) {
    for (const auto& t : decoder.kernel_times())
      std::printf("    %-36s %4lld launches  %8.1f us  %7.2f us each\n", t.name.c_str(),
                  static_cast<long long>(t.launches), t.microseconds,
                  t.microseconds / static_cast<double>(t.launches));
  }
  std::fflush(stdout);
}

int64_t number(const char* text) {
  const long long n = std::atoll(text);
  if (n < 1) throw Error(std::string(text) + " is no count");
  return n;
}

void run(int argc, char** argv) {
  Options options;
  std::vector<std::string> jobs;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (!name.starts_with("--")) {
      jobs.push_back(name);
      continue;
    }
    if (name == "--kernels") {
      options.kernels = true;
      continue;
    }
    if (i + 1 == argc) throw Error(name + " needs a value");
    const char* value = argv[++i];
    if (name == "--numerics") {
      options.numerics = value;
    } else if (name == "--new") {
      options.new_tokens = number(value);
    } else if (name == "--prompt") {
      options.prompt = number(value);
    } else if (name == "--repeat") {
      options.repeat = number(value);
    } else {
      throw Error(
          "usage: gpu_sampling [--numerics NAME] [--new N] [--prompt N] [--repeat N] SHAPE:SEQUENCES[,...] "
          "...");
    }
  }
  for (const std::string& job : jobs) {
    const size_t colon = job.rfind(':');
    if (colon == std::string::npos) throw Error(job + ": SHAPE:SEQUENCES is expected");
    const std::string shape = job.substr(0, colon);
    const ModelConfig config = read_new_model_config(parse_json(json_of(shape), shape));
    const Model model = Model::of_noise(config, DType::bf16, nullptr, cuda_memory());
    std::istringstream list(job.substr(colon + 1));
    for (std::string count; std::getline(list, count, ',');) {
      bench(model, shape, number(count.c_str()), options);
      bench_forward(model, number(count.c_str()), options);
    }
  }
}

}  // namespace
}  // namespace r1

int main(int argc, char** argv) {
  try {
    r1::run(argc, argv);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_sampling: %s\n", e.what());
    return 2;
  }
}
