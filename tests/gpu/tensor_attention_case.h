// tests/gpu/tensor_attention_case.h: batches of cuda-bf16 for the tests of attention on tensor cores, run step by step or
// with a tape.
#pragma once

#include <string>
#include <vector>

#include "ops/attention/attention.h"
#include "tensor/transfer.h"
#include "tests/gpu/device_run.h"
#include "tests/ops/attention_util.h"

namespace r1::test_tensor_attention {

using namespace test;
using namespace test_attention;

using Numbers = std::vector<float>;

inline Numbers rounded(Numbers values) {
  for (float& value : values) value = f32_from_bf16(bf16_from_f32(value));
  return values;
}

inline Data bf16_data(const Shape4& z, const std::vector<int64_t>& lengths, uint64_t seed,
                      double spread = 1.0) {
  Data data(z, lengths, seed, spread);
  data.q = rounded(data.q);
  data.k = rounded(data.k);
  data.v = rounded(data.v);
  data.numerics = Numerics::cuda_bf16;
  return data;
}

inline double distance_of(const Numbers& got, const auto& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
    size += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::sqrt(difference / size);
}

// Pages in the device's memory, all NaN until they are written.
struct DevicePages {
  DevicePages(const Data& data, uint64_t seed) : cache(data, seed), storage(cache.storage.size()) {
    pages = cache.pages;
    pages.dtype = DType::bf16;
    const std::vector<unsigned char> nan(cache.storage.size() * sizeof(float), 0xFF);
    storage.fill(nan);
    pages.data = storage.buffer.tensor().data;
  }
  struct Storage {
    explicit Storage(size_t floats) : buffer({static_cast<int64_t>(floats)}, DType::f32, cuda_memory()) {}
    void fill(const std::vector<unsigned char>& bytes) {
      cuda_memory().write(buffer.tensor().data, bytes.data(), bytes.size());
    }
    Buffer buffer;
  };
  Cache cache;
  Storage storage;
  KvPages pages;
};

struct TensorStepRow {
  int64_t s, begin, end;
  bool shares = false;  // lies behind the prompt of sequence 0
};

inline Tensor narrow_input(DeviceRun& r, Shape shape, std::span<const float> values) {
  const Tensor t = r.ctx.output(shape, DType::bf16);
  write_values(r.ctx.memory(), t, 0, values, r.ctx.stream);
  return t;
}
inline Numbers narrow_values(DeviceRun& r, const Tensor& t) {
  Numbers out(static_cast<size_t>(t.count()));
  read_values(r.ctx.memory(), t, 0, out, r.ctx.stream);
  return out;
}

// Runs rows of sequences step by step without a tape, and keeps each token's output.
class TensorSteps {
 public:
  // room: pages per row in the tables; 0: as many as the longest row has.
  TensorSteps(const Data& data, int64_t prefix, int64_t room = 0)
      : data_(data), prefix_(prefix), pages_(data, 9), out_(static_cast<size_t>(data.T()) * width(), kNaN) {
    room_ = std::max(room, pages_.cache.max_pages);
    run_.ctx.numerics = Numerics::cuda_bf16;
  }

  void run(const std::vector<TensorStepRow>& rows) {
    const OpScope scope(run_.ctx);
    std::vector<int64_t> tokens, prefixes;
    std::vector<int32_t> positions, offsets{0}, table, tails;
    for (const TensorStepRow& row : rows) {
      for (int64_t t = row.begin; t < row.end; ++t) {
        tokens.push_back(data_.offsets[static_cast<size_t>(row.s)] + t);
        positions.push_back(static_cast<int32_t>(t));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
      for (int64_t p = 0; p < room_; ++p) {
        const int64_t owner = row.shares && p < prefix_ / kKeyTile ? 0 : row.s;
        table.push_back(p * kKeyTile >= row.end ? kNoPage : page(owner, p));
      }
      prefixes.push_back(row.shares ? prefix_ : 0);
      tails.push_back(row.shares && prefix_ % kKeyTile != 0 ? page(0, prefix_ / kKeyTile) : -1);
    }
    const std::vector<int32_t> ids(tokens.size(), 0);
    Batch batch{ids, positions, offsets, table, room_};
    if (prefix_ > 0) batch.prefixes = prefixes, batch.tails = tails;
    const auto T = static_cast<int64_t>(tokens.size());
    const auto& z = data_.z;
    const Tensor q = narrow_input(run_, {T, z.H, z.K}, rows_of(data_.q, z.H * z.K, tokens)),
                 k = narrow_input(run_, {T, z.G, z.K}, rows_of(data_.k, z.G * z.K, tokens)),
                 v = narrow_input(run_, {T, z.G, z.V}, rows_of(data_.v, z.G * z.V, tokens));
    run_.poison(size_t{1} << 20);
    const Numbers got = narrow_values(run_, attention(run_.ctx, batch, pages_.pages, q, k, v, data_.scale));
    for (size_t i = 0; i < tokens.size(); ++i)
      std::copy_n(got.begin() + static_cast<int64_t>(i * width()), width(),
                  out_.begin() + tokens[i] * static_cast<int64_t>(width()));
  }
  Numbers output(int64_t s) const {
    const auto each = static_cast<int64_t>(width());
    return {out_.begin() + data_.offsets[static_cast<size_t>(s)] * each,
            out_.begin() + data_.offsets[static_cast<size_t>(s) + 1] * each};
  }
  const Numbers& all() const { return out_; }

 private:
  size_t width() const { return static_cast<size_t>(data_.z.H * data_.z.V); }
  int32_t page(int64_t s, int64_t p) const {
    return pages_.cache.order[static_cast<size_t>(s * pages_.cache.max_pages + p)];
  }
  const Data& data_;
  int64_t prefix_, room_ = 0;
  DevicePages pages_;
  DeviceRun run_{false};
  Numbers out_;
};

// Lies `aside` elements behind where a tensor would begin.
inline Tensor input_aside(DeviceRun& r, Shape shape, std::span<const float> values, int64_t aside) {
  Tensor t = r.ctx.arena.tensor({shape.count() + aside}, DType::bf16);
  t.data = static_cast<uint16_t*>(t.data) + aside;
  t.shape = shape;
  r.tape.name(t);
  write_values(r.ctx.memory(), t, 0, values, r.ctx.stream);
  return t;
}

struct Trained {
  Numbers out, dq, dk, dv;
};

// Whole rows with a tape, and parents as the data has them.
inline Trained train(const Data& data, uint64_t page_seed = 5, int times = 1, int64_t aside = 0) {
  DeviceRun r;
  r.ctx.numerics = Numerics::cuda_bf16;
  DevicePages pages(data, page_seed);
  std::vector<int32_t> positions, table, tails;
  std::vector<int64_t> prefixes;
  for (int64_t s = 0; s < data.S(); ++s) {
    const int64_t start = data.start(s), n = data.lengths[static_cast<size_t>(s)];
    const auto page = [&](int64_t owner, int64_t p) {
      return pages.cache.order[static_cast<size_t>(owner * pages.cache.max_pages + p)];
    };
    prefixes.push_back(start);
    tails.push_back(start % kKeyTile == 0 ? -1 : page(data.parent(s), start / kKeyTile));
    for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(start + i));
    for (int64_t p = 0; p < pages.cache.max_pages; ++p)
      table.push_back(p * kKeyTile < start + n ? page(p < start / kKeyTile ? data.parent(s) : s, p)
                                               : kNoPage);
  }
  const std::vector<int32_t> ids(positions.size(), 0);
  Batch batch{ids, positions, data.offsets, table, pages.cache.max_pages};
  if (!data.parents.empty()) batch.prefixes = prefixes, batch.tails = tails, batch.parents = data.parents;
  const int64_t T = data.T();
  const auto& z = data.z;
  const auto input = [&](Shape shape, std::span<const float> values) {
    return aside == 0 ? narrow_input(r, shape, values) : input_aside(r, shape, values, aside);
  };
  const Tensor q = input({T, z.H, z.K}, data.q), k = input({T, z.G, z.K}, data.k),
               v = input({T, z.G, z.V}, data.v);
  Trained out;
  r.want(q, &out.dq);
  r.want(k, &out.dk);
  r.want(v, &out.dv);
  r.poison(size_t{16} << 20);
  for (int i = 0; i < times; ++i) {
    const Tensor o = attention(r.ctx, batch, pages.pages, q, k, v, data.scale);
    out.out = narrow_values(r, o);
    r.seed(o, data.d_o);
  }
  r.backward();
  return out;
}

}  // namespace r1::test_tensor_attention
