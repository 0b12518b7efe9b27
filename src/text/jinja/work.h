// text/jinja/work.h: a render's budget, so that a hostile template ends with an error, soon and in little
// memory.
#pragma once

#include <cstddef>
#include <string>

#include "text/jinja/value.h"

namespace r1::jinja {

class Work {
 public:
  static constexpr size_t kMaxSteps =
      20'000'000;  // about a second; a long conversation costs some ten thousand
  static constexpr size_t kMaxText = size_t{8} << 20;  // two million tokens or so
  static constexpr int kMaxDepth = 1000;               // nested evaluations, macros' bodies included
  static constexpr size_t kBytesPerStep = 32;

  explicit Work(size_t max_steps = kMaxSteps) : max_steps_(max_steps) {}

  void spend(size_t steps) {
    steps_ += steps;
    if (steps_ > max_steps_) throw TemplateError("the template does not end: its budget of steps is used up");
  }
  void spend_bytes(size_t bytes) { spend(bytes / kBytesPerStep + 1); }
  // Called before a text or list of this size is made.
  void reserve(size_t bytes) {
    if (bytes > kMaxText) throw TemplateError("a text is larger than 8 MiB");
    spend_bytes(bytes);
  }
  Value text(std::string text) {
    reserve(text.size());
    return Value::of(std::move(text));
  }

  // Held while something nested is evaluated.
  class Deeper {
   public:
    explicit Deeper(Work& work) : work_(work) {
      if (work.depth_ >= kMaxDepth)
        throw TemplateError("evaluation is nested too deeply (a macro that calls itself?)");
      ++work.depth_;
    }
    ~Deeper() { --work_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Work& work_;
  };

 private:
  size_t max_steps_;
  size_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace r1::jinja
