// ops/moe/moe_ref.cc: the oracle: one token at a time, all in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/moe/moe.h"

namespace r1::ref {

namespace {

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double sigmoid(double z) {
  return 1 / (1 + std::exp(-z));
}

std::vector<double> scores(const float* x, const float* router, const MoeConfig& config, int64_t D) {
  std::vector<double> s;
  for (int64_t e = 0; e < config.experts; ++e) s.push_back(dot(x, router + e * D, D));
  if (config.score == RouterScore::sigmoid) {
    std::ranges::transform(s, s.begin(), sigmoid);
    return s;
  }
  const double most = *std::ranges::max_element(s);
  double sum = 0;
  for (double& v : s) sum += v = std::exp(v - most);
  for (double& v : s) v /= sum;
  return s;
}

// Returns the sum by which the balance loss divides a token's scores.
double score_sum(const std::vector<double>& s, const MoeConfig& config) {
  return config.score == RouterScore::softmax ? 1.0 : std::accumulate(s.begin(), s.end(), 1e-20);
}

// Returns the indices of the k largest; among equals the lower index comes first.
std::vector<size_t> top(const std::vector<double>& values, int64_t k) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  order.resize(static_cast<size_t>(k));
  return order;
}

struct Selection {
  std::vector<int32_t> experts;  // ascending
  std::vector<double> weights;
  double divisor = 1;
};

Selection select(const std::vector<double>& s, const float* bias, const MoeConfig& config) {
  const size_t E = s.size(), groups = static_cast<size_t>(config.groups), size = E / groups;
  std::vector<double> biased = s;
  for (size_t e = 0; e < E; ++e) biased[e] += bias != nullptr ? static_cast<double>(bias[e]) : 0.0;

  std::vector<double> group_scores(groups);
  for (size_t g = 0; g < groups; ++g) {
    std::vector<double> in_group(biased.begin() + static_cast<ptrdiff_t>(g * size),
                                 biased.begin() + static_cast<ptrdiff_t>((g + 1) * size));
    std::sort(in_group.rbegin(), in_group.rend());
    const bool two = size > 1 && config.group_rank == GroupRank::two_best;
    group_scores[g] = in_group[0] + (two ? in_group[1] : 0.0);
  }
  std::vector<double> choice(E, -std::numeric_limits<double>::infinity());
  for (const size_t g : top(group_scores, config.top_groups)) {
    for (size_t e = g * size; e < (g + 1) * size; ++e) choice[e] = biased[e];
  }

  Selection out;
  for (const size_t e : top(choice, config.active)) out.experts.push_back(static_cast<int32_t>(e));
  std::sort(out.experts.begin(), out.experts.end());
  if (config.norm_topk) {
    out.divisor = 1e-20;
    for (const int32_t e : out.experts) out.divisor += s[static_cast<size_t>(e)];
  }
  for (const int32_t e : out.experts) {
    out.weights.push_back(s[static_cast<size_t>(e)] / out.divisor *
                          static_cast<double>(config.routed_scaling));
  }
  return out;
}

struct Hidden {
  std::vector<double> gate, up, h;
};

Hidden hidden(const float* x, const float* gate, const float* up, int64_t D, int64_t F) {
  Hidden out;
  for (int64_t f = 0; f < F; ++f) {
    const double g = dot(x, gate + f * D, D), u = dot(x, up + f * D, D);
    out.gate.push_back(g);
    out.up.push_back(u);
    out.h.push_back(g * sigmoid(g) * u);
  }
  return out;
}

// f_e of one row of the batch.
std::vector<double> fractions(const float* x, const float* router, const float* bias, const MoeConfig& config,
                              int64_t begin, int64_t end, int64_t D) {
  std::vector<double> f(static_cast<size_t>(config.experts));
  for (int64_t t = begin; t < end; ++t) {
    for (const int32_t e : select(scores(x + t * D, router, config, D), bias, config).experts) {
      f[static_cast<size_t>(e)] +=
          static_cast<double>(config.experts) / static_cast<double>(config.active * (end - begin));
    }
  }
  return f;
}

}  // namespace

void route(const float* x, const float* router, const float* bias, const MoeConfig& config, int64_t D,
           int32_t* experts, double* weights) {
  const Selection chosen = select(scores(x, router, config, D), bias, config);
  std::copy(chosen.experts.begin(), chosen.experts.end(), experts);
  std::copy(chosen.weights.begin(), chosen.weights.end(), weights);
}

void moe(const float* x, const float* router, const float* bias, const MoeConfig& config,
         const float* const* gate, const float* const* up, const float* const* down, int64_t T, int64_t D,
         int64_t F, double* y) {
  std::fill(y, y + T * D, 0.0);
  for (int64_t t = 0; t < T; ++t) {
    const Selection chosen = select(scores(x + t * D, router, config, D), bias, config);
    for (size_t a = 0; a < chosen.experts.size(); ++a) {
      const int32_t e = chosen.experts[a];
      const Hidden mid = hidden(x + t * D, gate[e], up[e], D, F);
      for (int64_t d = 0; d < D; ++d) {
        for (int64_t f = 0; f < F; ++f) {
          y[t * D + d] +=
              chosen.weights[a] * static_cast<double>(down[e][d * F + f]) * mid.h[static_cast<size_t>(f)];
        }
      }
    }
  }
}

double balance_loss(const float* x, const float* router, const float* bias, const MoeConfig& config,
                    const int32_t* offsets, int64_t S, double balance_scale, int64_t D) {
  double loss = 0;
  for (int64_t row = 0; row < S; ++row) {
    const std::vector<double> f = fractions(x, router, bias, config, offsets[row], offsets[row + 1], D);
    for (int64_t t = offsets[row]; t < offsets[row + 1]; ++t) {
      const std::vector<double> s = scores(x + t * D, router, config, D);
      const double sum = score_sum(s, config);
      for (size_t e = 0; e < s.size(); ++e) loss += balance_scale * f[e] * s[e] / sum;
    }
  }
  return loss;
}

namespace {

// Adds to ds of one token the gradient through its experts, and adds the gradients of the experts and of x.
void add_experts(MoeGradients& out, const Selection& chosen, const std::vector<double>& s,
                 const MoeConfig& config, const float* const* gate, const float* const* up,
                 const float* const* down, const float* x, const float* dy, double* dx, int64_t D, int64_t F,
                 std::vector<double>& ds) {
  std::vector<double> dw(chosen.experts.size());
  for (size_t a = 0; a < dw.size(); ++a) {
    const auto e = static_cast<size_t>(chosen.experts[a]);
    const Hidden mid = hidden(x, gate[e], up[e], D, F);
    for (int64_t f = 0; f < F; ++f) {
      const auto i = static_cast<size_t>(f);
      double dh = 0;  // as if the weight were 1
      for (int64_t d = 0; d < D; ++d) {
        dh += static_cast<double>(down[e][d * F + f]) * static_cast<double>(dy[d]);
        out.down[e][static_cast<size_t>(d * F + f)] +=
            chosen.weights[a] * mid.h[i] * static_cast<double>(dy[d]);
      }
      dw[a] += mid.h[i] * dh;
      const double sig = sigmoid(mid.gate[i]);
      const double dgate = chosen.weights[a] * dh * mid.up[i] * sig * (1 + mid.gate[i] * (1 - sig));
      const double dup = chosen.weights[a] * dh * mid.gate[i] * sig;
      for (int64_t d = 0; d < D; ++d) {
        out.gate[e][static_cast<size_t>(f * D + d)] += dgate * static_cast<double>(x[d]);
        out.up[e][static_cast<size_t>(f * D + d)] += dup * static_cast<double>(x[d]);
        dx[d] +=
            dgate * static_cast<double>(gate[e][f * D + d]) + dup * static_cast<double>(up[e][f * D + d]);
      }
    }
  }
  const double scaling = static_cast<double>(config.routed_scaling);
  double flow = 0;
  for (size_t a = 0; a < dw.size() && config.norm_topk; ++a) {
    flow += dw[a] * s[static_cast<size_t>(chosen.experts[a])] / chosen.divisor;
  }
  for (size_t a = 0; a < dw.size(); ++a) {
    ds[static_cast<size_t>(chosen.experts[a])] += scaling * (dw[a] - flow) / chosen.divisor;
  }
}

}  // namespace

MoeGradients moe_backward(const float* x, const float* router, const float* bias, const MoeConfig& config,
                          const float* const* gate, const float* const* up, const float* const* down,
                          const float* dy, const int32_t* offsets, int64_t S, double balance_scale, int64_t T,
                          int64_t D, int64_t F) {
  const auto E = static_cast<size_t>(config.experts);
  MoeGradients out;
  out.x.assign(static_cast<size_t>(T * D), 0.0);
  out.router.assign(E * static_cast<size_t>(D), 0.0);
  out.gate.assign(E, std::vector<double>(static_cast<size_t>(F * D), 0.0));
  out.up = out.down = out.gate;

  std::vector<std::vector<double>> pull(static_cast<size_t>(T), std::vector<double>(E, 0.0));
  for (int64_t row = 0; offsets != nullptr && row < S; ++row) {
    const std::vector<double> f = fractions(x, router, bias, config, offsets[row], offsets[row + 1], D);
    for (int64_t t = offsets[row]; t < offsets[row + 1]; ++t) {
      for (size_t e = 0; e < E; ++e) pull[static_cast<size_t>(t)][e] = balance_scale * f[e];
    }
  }
  for (int64_t t = 0; t < T; ++t) {
    const std::vector<double> s = scores(x + t * D, router, config, D);
    double* dx = out.x.data() + t * D;
    std::vector<double> ds(E);
    if (dy != nullptr) {
      add_experts(out, select(s, bias, config), s, config, gate, up, down, x + t * D, dy + t * D, dx, D, F,
                  ds);
    }
    const std::vector<double>& p = pull[static_cast<size_t>(t)];
    const double sum = score_sum(s, config);
    const double flow = std::inner_product(s.begin(), s.end(), p.begin(), 0.0) / sum;
    for (size_t e = 0; e < E; ++e) ds[e] += (p[e] - flow) / sum;
    const double mean = std::inner_product(ds.begin(), ds.end(), s.begin(), 0.0);  // of a softmax
    for (size_t e = 0; e < E; ++e) {
      const double dz = s[e] * (config.score == RouterScore::softmax ? ds[e] - mean : ds[e] * (1 - s[e]));
      for (int64_t d = 0; d < D; ++d) {
        out.router[e * static_cast<size_t>(D) + static_cast<size_t>(d)] +=
            dz * static_cast<double>(x[t * D + d]);
        dx[d] += dz * static_cast<double>(router[static_cast<int64_t>(e) * D + d]);
      }
    }
  }
  return out;
}

}  // namespace r1::ref
