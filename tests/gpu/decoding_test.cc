// tests/gpu/decoding_test.cc: decoding by recorded steps has the bits of scoring, whatever the rows, their number and
// their pages are, in both numerics.
#include "engine/engine.h"
#include "engine/graph_decoder.h"
#include "model/scoring.h"
#include "ops/matmul/matmul.h"
#include "ops/optim/optim.h"
#include "tensor/workspace.h"
#include "tests/gpu/device.h"
#include "tests/gpu/model_case.h"

namespace r1::decoding_test {
using namespace test;

class CudaDecoding : public OnDevice {};

constexpr Numerics kBoth[] = {Numerics::cpu_f32, Numerics::cuda_bf16};

// Every family, and shapes that the kernel for decoding has instances for.
std::map<std::string, Json> shapes() {
  std::map<std::string, Json> out = families();
  const auto grouped = [](const char* type, int heads, int groups, int width) {
    return common(type)
        .set("num_attention_heads", heads)
        .set("num_key_value_heads", groups)
        .set("head_dim", width)
        .set("num_hidden_layers", 2);
  };
  out["llama, 3 heads of 32 per group"] = grouped("llama", 6, 2, 32);
  out["qwen2, 6 heads of 128 per group"] = grouped("qwen2", 12, 2, 128);
  out["qwen3, 2 heads of 64 per group"] = grouped("qwen3", 4, 2, 64);
  out["llama, 7 heads of 64 per group"] = grouped("llama", 7, 1, 64);
  out["llama, 1 head of 96 per group"] = grouped("llama", 3, 3, 96);
  return out;
}

Request request_of(Random& random, int64_t prompt, int64_t samples, int64_t tokens) {
  Request r;
  r.prompt = tokens_of(random, prompt);
  r.samples = samples;
  r.max_tokens = tokens;
  r.key.seed = 3;
  r.stop_tokens = {7};  // samples end at different times
  return r;
}

// Prompts that end within and between pages, answers that go over several pages.
std::vector<Request> requests() {
  Random random(12);
  std::vector<Request> out{request_of(random, 5, 3, 90), request_of(random, 33, 4, 70),
                           request_of(random, 64, 2, 40), request_of(random, 1, 1, 100),
                           request_of(random, 40, 1, 1)};
  for (size_t i = 0; i < out.size(); ++i) out[i].key.prompt = static_cast<uint32_t>(i);
  return out;
}

void expect_equal(const std::vector<Completion>& got, const std::vector<Completion>& want,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << what << ", sample " << i;
    EXPECT_EQ(got[i].logprobs, want[i].logprobs) << what << ", sample " << i;
  }
}

// The log-probs of scoring, which has neither pages nor recorded steps.
void expect_scored(const Model& model, Numerics numerics, const std::vector<Request>& list,
                   const std::vector<Completion>& done, const std::string& what) {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<ScoredRow> rows;
  for (const Completion& c : done) {
    tokens.push_back(list[static_cast<size_t>(c.request)].prompt);
    append_tokens(tokens.back(), c.tokens);
  }
  for (size_t i = 0; i < done.size(); ++i)
    rows.emplace_back(tokens[i], std::ssize(tokens[i]) - std::ssize(done[i].tokens));
  ThreadPool threads(1);
  Lanes lanes(threads, numerics, Arena::kDefaultLimit, cuda_memory());
  const auto scored = score(model, lanes, rows, {});
  for (size_t i = 0; i < done.size(); ++i) EXPECT_EQ(done[i].logprobs, scored[i]) << what << ", sample " << i;
}

TEST_F(CudaDecoding, HasTheLogProbsOfScoringWhateverTheBatch) {
  ThreadPool threads(1);
  const std::vector<Request> list = requests();
  for (const Numerics numerics : kBoth) {
    for (const auto& [name, json] : shapes()) {
      const std::string what = name + " in " + std::string(name_of(numerics));
      const Model model = random_model(json, cuda_memory());
      Workspace alone(threads, numerics, cuda_memory()), together(threads, numerics, cuda_memory());
      const auto one = Engine(model, alone.ctx, {.max_batch = 1, .prefill_chunk = 8}).run(list);
      const auto all = Engine(model, together.ctx, {.max_batch = 11, .prefill_chunk = 64}).run(list);
      expect_equal(all, one, what);
      expect_scored(model, numerics, list, all, what);
    }
  }
}

// Rows of every padded size, some of which leave, at depths on both sides of a page's end.
TEST_F(CudaDecoding, RecordedStepsHaveTheBitsOfLaunchByLaunch) {
  ThreadPool threads(1);
  for (const Numerics numerics : kBoth) {
    for (const auto& [name, json] : shapes()) {
      const Model model = random_model(json, cuda_memory());
      Workspace work(threads, numerics, cuda_memory()), plain(threads, numerics, cuda_memory());
      constexpr int64_t kRows = 20, kPages = 4, kSpare = 1;
      const KvCache kv(model.config(), kRows * kPages + kSpare, work.ctx.row().cache, cuda_memory()),
          own(model.config(), kRows * kPages + kSpare, work.ctx.row().cache, cuda_memory());
      GraphDecoder decoder(model, work.ctx);
      Random random(4);
      Group group;
      std::deque<Sequence> sequences;
      for (int64_t i = 0; i < kRows; ++i) {
        Sequence& s = sequences.emplace_back();
        s.group = &group;
        for (int64_t p = 0; p < kPages; ++p) s.pages.push_back(static_cast<int32_t>(p * kRows + i));
      }
      for (int64_t step = 0; step < 70; ++step) {
        std::vector<ScheduledRow> rows;
        std::vector<int32_t> tokens, positions, offsets{0}, table;
        const auto count = static_cast<int64_t>(1 + random.below(kRows));
        for (Sequence& s : sequences) {
          if (std::ssize(rows) == count || (step % 3 == 0 && random.below(4) == 0)) continue;
          s.tokens.push_back(tokens_of(random, 1)[0]);
          rows.push_back({.sequence = &s, .begin = s.size() - 1, .end = s.size()});
          tokens.push_back(s.tokens.back());
          positions.push_back(static_cast<int32_t>(s.size() - 1));
          offsets.push_back(static_cast<int32_t>(tokens.size()));
          table.insert(table.end(), s.pages.begin(), s.pages.end());
        }
        if (rows.empty()) continue;
        const auto V = static_cast<size_t>(model.config().vocab_size), n = rows.size() * V;
        std::vector<float> got(n), want(n);
        const OpScope scope(work.ctx), other(plain.ctx);
        read_values(cuda_memory(), decoder.forward(rows, kv).part(0, std::ssize(rows)), 0, got,
                    work.ctx.stream);
        const Tensor hidden = model.forward(plain.ctx, Batch{tokens, positions, offsets, table, kPages}, own);
        read_values(cuda_memory(), matmul(plain.ctx, hidden, model.head(), DType::f32), 0, want,
                    plain.ctx.stream);
        ASSERT_EQ(got, want) << name << " in " << name_of(numerics) << ", step " << step << ", "
                             << rows.size() << " rows";
      }
      EXPECT_GT(decoder.counts().launched, decoder.counts().eager) << name;
      // Padding has touched no page.
      for (int64_t layer = 0; layer < model.config().layers; ++layer) {
        const KvPages& pages = kv.layer(layer);
        std::vector<std::byte> last(pages.page_bytes());
        cuda_memory().read(last.data(),
                           static_cast<const std::byte*>(pages.data) + kRows * kPages * pages.page_bytes(),
                           last.size(), work.ctx.stream);
        EXPECT_TRUE(std::ranges::all_of(last, [](std::byte b) { return b == std::byte{0}; })) << name;
      }
    }
  }
}

// Rows whose keys fill one part and several, beside each other.
TEST_F(CudaDecoding, HasTheLogProbsOfScoringBehindLongPrompts) {
  ThreadPool threads(1);
  Random random(13);
  std::vector<Request> list{request_of(random, 250, 3, 40), request_of(random, 505, 2, 30),
                            request_of(random, 64, 2, 50), request_of(random, 777, 1, 20)};
  for (size_t i = 0; i < list.size(); ++i) list[i].key.prompt = static_cast<uint32_t>(i);
  for (const char* name : {"llama, 3 heads of 32 per group", "qwen2, 6 heads of 128 per group",
                           "qwen3, 2 heads of 64 per group", "llama, 7 heads of 64 per group", "qwen3"}) {
    Json json = shapes().at(name);
    const Model model = random_model(json.set("max_position_embeddings", 1024), cuda_memory());
    Workspace alone(threads, Numerics::cuda_bf16, cuda_memory()),
        together(threads, Numerics::cuda_bf16, cuda_memory());
    const auto one = Engine(model, alone.ctx, {.max_batch = 1, .prefill_chunk = 100}).run(list);
    const auto all = Engine(model, together.ctx, {.max_batch = 8, .prefill_chunk = 600}).run(list);
    expect_equal(all, one, name);
    expect_scored(model, Numerics::cuda_bf16, list, all, name);
  }
}

// The first step of `rows` new sequences.
struct DecodedRows {
  DecodedRows(int64_t rows, const KvCache& cache) : kv(cache) {
    for (int64_t i = 0; i < rows; ++i) {
      Sequence& s = sequences.emplace_back();
      s.group = &group;
      s.tokens = {static_cast<int32_t>(rows)};
      s.pages = {static_cast<int32_t>(i)};
    }
  }
  std::vector<float> step(GraphDecoder& decoder, Context& ctx, int64_t vocabulary) {
    std::vector<ScheduledRow> rows;
    for (Sequence& s : sequences) rows.push_back({.sequence = &s, .begin = s.size() - 1, .end = s.size()});
    std::vector<float> out(rows.size() * static_cast<size_t>(vocabulary));
    const OpScope scope(ctx);
    read_values(cuda_memory(), decoder.forward(rows, kv).part(0, std::ssize(rows)), 0, out, ctx.stream);
    return out;
  }
  const KvCache& kv;
  Group group;
  std::deque<Sequence> sequences;
};

TEST_F(CudaDecoding, KeepsTheShapesThatWereUsedLast) {
  ThreadPool threads(1);
  const Model model = random_model(shapes().at("qwen3, 2 heads of 64 per group"), cuda_memory());
  Workspace work(threads, Numerics::cuda_bf16, cuda_memory());
  const KvCache kv(model.config(), 64, work.ctx.row().cache, cuda_memory());
  GraphDecoder decoder(model, work.ctx, 3);
  std::map<int64_t, std::vector<float>> first;
  // Each count of rows is a shape. Its first step runs launch by launch, its second records.
  const auto run = [&](int64_t rows, int64_t recorded, int64_t kept) {
    DecodedRows decoded(rows, kv);
    for (int i = 0; i < 2; ++i) {
      const std::vector<float> got = decoded.step(decoder, work.ctx, model.config().vocab_size);
      EXPECT_EQ(first.try_emplace(rows, got).first->second, got) << rows << " rows";
    }
    EXPECT_EQ(decoder.counts().recorded, recorded) << rows << " rows";
    EXPECT_EQ(decoder.counts().kept, kept) << rows << " rows";
  };
  run(1, 1, 1);
  run(2, 2, 2);
  run(4, 3, 3);
  run(1, 3, 3);
  run(8, 4, 3);  // 2 makes room
  run(1, 4, 3);
  run(4, 4, 3);
  run(2, 5, 3);  // 8 makes room
  run(1, 5, 3);
  run(8, 6, 3);  // 4 makes room
  EXPECT_FALSE(decoder.kernel_times().empty());
}

// A kernel of experts reads what the router's wrote in the same layer.
TEST_F(CudaDecoding, KernelsOfEveryFamilyAreTimed) {
  ThreadPool threads(1);
  for (const auto& [name, json] : shapes()) {
    const Model model = random_model(json, cuda_memory());
    Workspace work(threads, Numerics::cuda_bf16, cuda_memory());
    const KvCache kv(model.config(), 8, work.ctx.row().cache, cuda_memory());
    GraphDecoder decoder(model, work.ctx);
    DecodedRows decoded(3, kv);
    for (int i = 0; i < 2; ++i) decoded.step(decoder, work.ctx, model.config().vocab_size);
    int64_t launches = 0;
    for (const DeviceGraph::KernelTime& time : decoder.kernel_times()) {
      EXPECT_GT(time.microseconds, 0) << name << ", " << time.name;
      launches += time.launches;
    }
    EXPECT_GE(launches, 5 * model.config().layers) << name;
  }
}

// By looking the text up, and by the MTP head of a model that has one.
TEST_F(CudaDecoding, GuessesChangeNoTextAndNoLogProb) {
  ThreadPool threads(1);
  Random random(15);
  std::vector<Request> list;
  for (uint32_t i = 0; i < 8; ++i) {
    Request r = request_of(random, 0, 1 + i % 3, 60);
    for (int64_t t = 0; t < 20 + 5 * i; ++t) r.prompt.push_back(static_cast<int32_t>(2 + 3 * (t % (2 + i))));
    r.sampling.temperature = i % 2 == 0 ? 0.0f : 0.1f;
    r.key.prompt = i;
    list.push_back(std::move(r));
  }
  for (const Numerics numerics : kBoth) {
    for (const char* name : {"qwen3, 2 heads of 64 per group", "llama", "deepseek_v3"}) {
      ModelConfig config = read_model_config(parse_json(shapes().at(name).dump(), "config.json"));
      config.prediction_layers = std::string(name) == "deepseek_v3" ? 1 : 0;
      const Model model = Model::create(config, 5, cuda_memory());
      Workspace plain(threads, numerics, cuda_memory());
      const auto want = Engine(model, plain.ctx, {.max_batch = 3}).run(list);
      for (const int64_t most : {1, 7}) {
        Workspace work(threads, numerics, cuda_memory());
        Engine engine(model, work.ctx, {.max_batch = 3, .prefill_chunk = 40, .lookahead = most});
        const std::string what = std::string(name) + " in " + std::string(name_of(numerics));
        expect_equal(engine.run(list), want, what);
        const LookaheadCounts counts = engine.statistics().lookahead;
        EXPECT_GT(counts.total().accepted, 20) << what;
        EXPECT_EQ(counts.head.guessed > 0, config.prediction_layers > 0) << what;
      }
    }
  }
}

TEST_F(CudaDecoding, SeesWeightsThatChangedInPlace) {
  ThreadPool threads(1);
  const std::vector<Request> list = requests();
  for (const Numerics numerics : kBoth) {
    for (const char* name : {"qwen3, 2 heads of 64 per group", "deepseek_v3"}) {
      Model model = random_model(shapes().at(name), cuda_memory());
      Workspace work(threads, numerics, cuda_memory());
      Engine engine(model, work.ctx, {.max_batch = 8});
      const auto before = engine.run(list);
      for (Parameter& p : model.parameters()) {
        std::vector<float> values(static_cast<size_t>(p.value.count()));
        read_values(cuda_memory(), p.value, 0, values);
        for (float& v : values) v *= 0.9375f;
        write_values(cuda_memory(), p.value, 0, values);
        ++p.version;
      }
      engine.weights_changed();
      const auto after = engine.run(list);
      EXPECT_NE(after.front().logprobs, before.front().logprobs) << name;
      expect_scored(model, numerics, list, after, name);
      Workspace fresh(threads, numerics, cuda_memory());
      expect_equal(after, Engine(model, fresh.ctx, {.max_batch = 3}).run(list), name);
    }
  }
}

}  // namespace r1::decoding_test
