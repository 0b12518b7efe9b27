#include "reward/term.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "reward/language.h"
#include "reward/repetition.h"

namespace r1 {
namespace {

// A term whose value depends only on the sample itself.
class OwnTerm : public Term {
 public:
  using Value = std::function<double(const TermSample&)>;
  explicit OwnTerm(Value value) : value_(std::move(value)) {}
  std::vector<double> values(std::span<const TermSample> group) const override {
    std::vector<double> out;
    for (const TermSample& s : group) out.push_back(s.failed ? 0.0 : value_(s));
    return out;
  }

 private:
  Value value_;
};

double overlong_value(int64_t tokens, int64_t cap, int64_t before) {
  const int64_t over = tokens - (cap - before);
  return over <= 0 ? 0.0 : -static_cast<double>(over) / static_cast<double>(before);
}

class Brevity : public Term {
 public:
  std::vector<double> values(std::span<const TermSample> group) const override {
    double tokens = 0, count = 0;
    for (const TermSample& s : group) {
      if (counts(s)) tokens += static_cast<double>(s.tokens), count += 1;
    }
    const double mean = count == 0 ? 0 : tokens / count;
    std::vector<double> out;
    for (const TermSample& s : group) {
      const double shorter = counts(s) ? (mean - static_cast<double>(s.tokens)) / mean : 0.0;
      out.push_back(std::clamp(shorter, -1.0, 1.0));
    }
    return out;
  }

 private:
  static bool counts(const TermSample& s) { return s.correct && !s.failed; }
};

// Kimi k1.5's length reward.
class ShorterInGroup : public Term {
 public:
  std::vector<double> values(std::span<const TermSample> group) const override {
    int64_t shortest = INT64_MAX, longest = 0;
    for (const TermSample& s : group) {
      if (s.failed) continue;
      shortest = std::min(shortest, s.tokens);
      longest = std::max(longest, s.tokens);
    }
    std::vector<double> out;
    for (const TermSample& s : group) {
      if (s.failed || longest <= shortest) {
        out.push_back(0);
        continue;
      }
      const double v =
          0.5 - static_cast<double>(s.tokens - shortest) / static_cast<double>(longest - shortest);
      out.push_back(s.correct ? v : std::min(0.0, v));
    }
    return out;
  }
};

double distance_value(int64_t tokens, int64_t target) {
  return -std::min(1.0, std::fabs(static_cast<double>(tokens - target)) / static_cast<double>(target));
}

}  // namespace

std::vector<WeightedTerm> make_terms(const RewardConfig& config, int64_t cap) {
  std::vector<WeightedTerm> terms;
  const auto own = [&](const char* name, double weight, OwnTerm::Value value) {
    terms.push_back({name, weight, std::make_unique<OwnTerm>(std::move(value))});
  };
  own("accuracy", config.accuracy, [](const TermSample& s) { return s.correct ? 1.0 : 0.0; });
  own("format", config.format, [](const TermSample& s) { return s.well_formed ? 1.0 : 0.0; });
  if (config.overlong != 0) {
    R1_CHECK(config.overlong_tokens >= 1, "overlong_tokens ", config.overlong_tokens);
    own("overlong", config.overlong, [cap, before = config.overlong_tokens](const TermSample& s) {
      return overlong_value(s.tokens, cap, before);
    });
  }
  if (config.brevity != 0) terms.push_back({"brevity", config.brevity, std::make_unique<Brevity>()});
  if (config.language != 0) {
    count_language("", config.language_target);  // throws here for an unknown language
    own("language", config.language, [language = config.language_target](const TermSample& s) {
      return language_consistency(s.response, language);
    });
  }
  if (config.repetition != 0) {
    own("repetition", config.repetition,
        [n = config.repetition_words](const TermSample& s) { return -repetition_of(s.response, n); });
  }
  if (config.length != 0 && config.length_target > 0) {
    own("length", config.length,
        [target = config.length_target](const TermSample& s) { return distance_value(s.tokens, target); });
  } else if (config.length != 0) {
    terms.push_back({"length", config.length, std::make_unique<ShorterInGroup>()});
  }
  return terms;
}

}  // namespace r1
