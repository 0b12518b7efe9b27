// train/ppo_loss.h: proximal policy optimisation with a critic (1707.06347), the arithmetic alone. The policy's
// loss is that of train/grpo_loss.h with one advantage per token.
//
// A sample has n scored tokens; V_t is the critic's value before token t, and the answer's end has the value 0,
// also if it was cut off.
//   r_t = -kl (old_t - ref_t)  + the sample's reward at t = n - 1     the penalty of 1909.08593: in the reward
//   d_t = r_t + gamma V_{t+1} - V_t
//   A_t = d_t + gamma lambda A_{t+1}                                   GAE (1506.02438)
//   R_t = A_t + V_t                                                    what the critic learns to predict
//   value loss = sum over t of w_t max((v_t - R_t)^2, (c_t - R_t)^2) / 2
//   c_t = v_t, clipped to [V_t - clip, V_t + clip], with V_t the value before the step's first update
// With lambda = 1, A_t is the discounted sum of rewards less V_t, without the critic's errors further on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace r1 {

// Returns r_t of a sample. `ref` is empty if kl is 0.
std::vector<double> token_rewards(double reward, std::span<const float> old, std::span<const float> ref,
                                  double kl);

// Returns A_t, given r_t and V_t.
std::vector<double> generalised_advantages(std::span<const double> rewards, std::span<const float> values,
                                           double gamma, double lambda);

// Sums of numbers, added in one order. They are sums of the distances to the first number, so that equal numbers
// have exactly their mean and the variance 0.
struct Moments {
  int64_t count = 0;
  double first = 0, sum = 0, squares = 0;
  void add(double x);
  double mean() const;      // 0 of nothing
  double variance() const;  // the variance of the population
};

// Sets each number x to (x - mean) / (deviation + 1e-8), given the moments of all numbers. Equal numbers become 0: a
// rounding error of their mean would be divided by 1e-8.
void normalise(std::span<double> numbers, const Moments& all);

// Returns 1 - Var(R - V) / Var(R): 1 if the critic foresees every return, 0 if it knows no more than their mean.
// 0 if all returns are equal.
double explained_variance(const Moments& returns, const Moments& errors);

// Returns the loss of one sample and sets gradient[t] to its derivative by values[t]. `old` holds V_t; clip = 0
// clips nothing. Every span has one element per token.
struct ValueLoss {
  double loss = 0;
  int64_t clipped = 0;  // tokens whose clipped term was the larger one: they have no gradient
};
ValueLoss value_loss(double clip, std::span<const float> values, std::span<const float> old,
                     std::span<const double> returns, double weight, std::span<double> gradient);

}  // namespace r1
