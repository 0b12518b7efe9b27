// cli/doctor_checks.cc: self checks. Each tests a promise of the program and compares with ==.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/machine.h"
#include "base/process.h"
#include "base/random.h"
#include "cli/doctor.h"
#include "model/gguf_config.h"
#include "model/memory.h"
#include "model/scoring.h"
#include "ops/matmul/matmul.h"
#include "ops/simd/targets.h"
#include "tensor/transfer.h"

namespace r1 {
namespace {

constexpr const char* kBrokenBuild =
    "this build does not compute what it must on this machine: build it again from a clean folder "
    "(rm -rf build), and report the lines above where that does not help";

Check check(const std::string& name, const std::function<std::string()>& run) {
  try {
    return {name, true, run()};
  } catch (const std::exception& e) {
    return {name, false, e.what()};
  }
}

// ---- checks without a model

std::string random_numbers() {
  // Random123's known answer of philox4x32-10 for counter 0 and key 0.
  const std::array<uint32_t, 4> want = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  if (philox({0, 0, 0, 0}, {0, 0}) != want) throw Error(kBrokenBuild);
  return "Philox gives its known answer";
}

std::string instruction_sets(ThreadPool& threads) {
  constexpr int64_t T = 37, N = 70, K = 130;  // no multiples of a vector's length
  Random random(1);
  std::vector<float> x(T * K), values(N * K);
  for (float& v : x) v = static_cast<float>(random.normal());
  for (float& v : values) v = static_cast<float>(random.normal());
  const Buffer matrix(Shape{N, K}, DType::f32);
  write_values(host_memory(), matrix.tensor(), 0, values);
  Parameter w{.name = "w", .value = matrix.tensor(), .grad = {}};
  const Weight weight(&w);
  std::vector<float> first;
  std::vector<std::string> names;
  for (const SimdTarget& target : simd_targets()) {
    if (!target.usable) continue;
    const WithSimdTarget with(target);
    names.push_back(target.name);
    Arena arena;
    ThreadPool one(1);
    for (ThreadPool* pool : {&one, &threads}) {
      Context ctx{.arena = arena, .threads = *pool};
      const OpScope scope(ctx);
      const Tensor in = arena.tensor({T, K});
      write_values(ctx.memory(), in, 0, x);
      std::vector<float> y(T * N);
      read_values(ctx.memory(), matmul(ctx, in, weight, DType::f32), 0, y);
      if (first.empty()) first = y;
      if (std::memcmp(first.data(), y.data(), y.size() * sizeof(float)) != 0)
        throw Error(fmt::format("{} and {} threads give other bits than {} and one: {}", target.name,
                                pool->size(), names.front(), kBrokenBuild));
    }
  }
  return fmt::format("{} with 1 and {} threads: the same bits", fmt::join(names, ", "), threads.size());
}

// ---- checks of a model

std::string memory_needed(const std::filesystem::path& directory) {
  const ModelConfig config = load_model_config(directory);
  const ModelMemory need = model_memory(config, Numerics::cpu_f32, DType::f32, WeightUse::inference);
  const int64_t bytes = need.weights + need.packed, available = memory_facts().available;
  const std::string text =
      fmt::format("weights in f32 need {} MiB, {} are available", (bytes >> 20) + 1, available >> 20);
  if (available > 0 && bytes > available) throw Error(text + ": take a smaller model, or a larger machine");
  return text;
}

std::string tokenizer_round_trip(const ModelBundle& bundle) {
  const std::vector<std::string> texts = {
      "Use 3, 5 and 9 to make 24.",
      "<think>\n1+1 = 2, 2*12 = 24\n</think>",
      "  two  spaces,\ta tab,\r\nand a new line\n\n",
      "caf\u00e9 na\u00efve \u00fcber \u4f60\u597d \u043f\u0440\u0438\u0432\u0435\u0442 \U0001F600",
      "def f(x):\n    return {'a': [1, 2.5e-3], \"b\": None}\n",
      "0123456789 1234567 3.14159"};
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = bundle.tokenizer.encode(text, false);
    const std::string back = bundle.tokenizer.decode(ids);
    if (back == text) continue;
    throw Error(fmt::format("\"{}\" comes back as \"{}\": tokenizer.json is damaged, or normalises text",
                            text, back));
  }
  return fmt::format("{} texts come back as they went", texts.size());
}

std::string chat_template(const ModelBundle& bundle) {
  const std::string question = "How much is 17 times 3?";
  const std::string text = bundle.tokenizer.decode(bundle.chat_prompt(question).tokens);
  if (text.find(question) == std::string::npos)
    throw Error("the rendered prompt does not hold the question: the template is of another kind of model");
  return bundle.chat_template.empty()
             ? "none: a question is asked as it is"
             : fmt::format("a question becomes {} tokens", bundle.chat_prompt(question).tokens.size());
}

std::vector<Request> some_requests(const SamplingModel& model) {
  const ModelConfig& config = model.model().config();
  std::vector<Request> requests;
  for (uint32_t i = 0; i < 4; ++i) {
    Request& r = requests.emplace_back();
    if (model.bundle) {
      r.prompt =
          model.bundle->chat_prompt(fmt::format("Use {}, {} and 7 to make {}.", i + 2, 3 * i + 1, 20 + i))
              .tokens;
    } else {
      for (uint32_t k = 0; k < 5 + 9 * i; ++k)
        r.prompt.push_back(static_cast<int32_t>((17 * k + 5 * i + 3) % config.vocab_size));
    }
    if (static_cast<int64_t>(r.prompt.size()) > config.max_positions / 2)
      r.prompt.resize(static_cast<size_t>(config.max_positions / 2));
    r.samples = 3;
    r.max_tokens = 24;
    r.key = {.seed = 1, .step = 0, .prompt = i};
    r.stop_tokens = model.stop_tokens;
  }
  return requests;
}

// Samples in one batch with all threads, then one at a time with one thread, and scores the rows with both.
// All log-probs must be equal, and, if `expected` has samples, equal to theirs. Leaves its samples there.
std::string one_forward(const SamplingModel& model, ThreadPool& threads, std::vector<Completion>& expected) {
  const std::vector<Request> requests = some_requests(model);
  ThreadPool one(1);
  Workspace all_threads(threads, model.numerics, model.model().memory()),
      one_thread(one, model.numerics, model.model().memory());
  const auto sample = [&](Workspace& work, int64_t batch, int64_t chunk) {
    return Engine(model.model(), work.ctx, {.max_batch = batch, .prefill_chunk = chunk, .kv_bytes = 0})
        .run(requests);
  };
  const std::vector<Completion> batch = sample(all_threads, 64, 2048), single = sample(one_thread, 1, 5);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (batch[i].tokens != expected[i].tokens || batch[i].logprobs != expected[i].logprobs)
      throw Error(fmt::format("sample {} differs from the CPU's: {}", i, kBrokenBuild));
  }
  std::vector<std::vector<int32_t>> rows;
  std::vector<ScoredRow> scored;
  size_t count = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (batch[i].tokens != single[i].tokens || batch[i].logprobs != single[i].logprobs)
      throw Error(fmt::format("sample {} differs between a batch and one at a time: {}", i, kBrokenBuild));
    auto& row = rows.emplace_back(requests[static_cast<size_t>(batch[i].request)].prompt);
    row.insert(row.end(), batch[i].tokens.begin(), batch[i].tokens.end());
    count += batch[i].tokens.size();
  }
  for (size_t i = 0; i < rows.size(); ++i)
    scored.push_back({rows[i], static_cast<int64_t>(rows[i].size() - batch[i].tokens.size())});
  for (ThreadPool* pool : {&threads, &one}) {
    Lanes lanes(*pool, model.numerics, Arena::kDefaultLimit, model.model().memory());
    const auto together = score(model.model(), lanes, scored, {});
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto alone = score(model.model(), lanes, std::span(&scored[i], 1), {});
      if (together[i] != batch[i].logprobs || alone[0] != batch[i].logprobs)
        throw Error(fmt::format("sample {} was sampled with other log-probs than it is scored with: {}", i,
                                kBrokenBuild));
    }
  }
  const bool compared = !expected.empty();
  expected = batch;
  return fmt::format(
      "{} tokens sampled and scored, alone and together, with 1 and {} threads: all log-probs equal{}", count,
      threads.size(), compared ? ", and those of the CPU" : "");
}

}  // namespace

std::vector<Check> machine_checks(ThreadPool& threads) {
  return {check("random numbers", random_numbers),
          check("matrix products", [&] { return instruction_sets(threads); })};
}

std::vector<Check> model_checks(const std::filesystem::path& directory, ThreadPool& threads,
                                const std::string& device) {
  const auto load = [&](Numerics numerics, const std::string& where = "") {
    CommonOptions common;
    common.device = where;
    common.numerics = name_of(numerics);
    return SamplingModel::load(common, directory);
  };
  std::vector<Check> checks{check("memory", [&] { return memory_needed(directory); })};
  if (!checks.back().ok) return checks;
  std::optional<SamplingModel> model;
  checks.push_back(check("model files", [&] {
    model = load(Numerics::cpu_f32);  // throws if a tensor is missing or misshapen
    model->model().check_finite();
    return fmt::format("{}, {} weights, all finite", name_of(model->model().config().family),
                       model->model().parameter_count());
  }));
  if (!model) return checks;
  if (model->bundle) {
    checks.push_back(check("tokenizer", [&] { return tokenizer_round_trip(*model->bundle); }));
    checks.push_back(check("chat template", [&] { return chat_template(*model->bundle); }));
  }
  std::vector<Completion> f32;
  for (const Numerics numerics : kAllNumerics) {
    if (!machine_has(numerics)) continue;
    checks.push_back(check(fmt::format("one forward, {}", name_of(numerics)), [&] {
      if (!model || activation_dtype(numerics) != activation_dtype(model->numerics)) {
        model.reset();  // before the next load, so that only one model is held
        model = load(numerics);
      }
      model->numerics = numerics;
      std::vector<Completion> samples;
      std::string found = one_forward(*model, threads, samples);
      if (numerics == Numerics::cpu_f32) f32 = std::move(samples);
      return found;
    }));
  }
  if (device.empty() || device_from_name(device) == Device::cpu) return checks;
  std::vector<Completion> none;
  for (const Numerics numerics : {Numerics::cpu_f32, Numerics::cuda_bf16}) {
    checks.push_back(check(fmt::format("one forward, {} on {}", name_of(numerics), device), [&] {
      model.reset();
      model = load(numerics, device);
      return one_forward(*model, threads, numerics == Numerics::cpu_f32 ? f32 : none);
    }));
  }
  return checks;
}

}  // namespace r1
