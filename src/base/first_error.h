// base/first_error.h: carries an error out of a parallel_for, whose body must not throw.
#pragma once

#include <exception>
#include <mutex>

namespace r1 {

class FirstError {
 public:
  // Any thread may call it. Of several errors, the first one is kept.
  template <class F>
  void run(const F& f) {
    try {
      f();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (error_ == nullptr) error_ = std::current_exception();
    }
  }
  // After the parallel_for.
  bool failed() const { return error_ != nullptr; }
  // Throws the error if there was one.
  void rethrow() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace r1
