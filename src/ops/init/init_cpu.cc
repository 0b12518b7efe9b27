#include "ops/init/init_backend.h"

namespace r1::cpu {

void fill_normal(Context& ctx, const FillNormal& call) {
  constexpr int64_t kGrain = 4096;  // about 0.4 ms
  const std::span<float> to = call.to.values();
  ctx.threads.parallel_for(std::ssize(to), kGrain, [&](int64_t begin, int64_t end) {
    NormalStream part = call.stream;
    part.first += static_cast<uint64_t>(begin);
    normal_numbers(part, call.scale,
                   to.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
  });
}

}  // namespace r1::cpu
