#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/error.h"

namespace r1 {
namespace {

// A signal handler reaches only globals. The texts are set before the handlers are installed and outlive
// them.
struct Notice {
  std::string after;  // for example " of 40 samples are finished. ..."
  struct sigaction old_int {
  }, old_term{};
};
Notice* live = nullptr;
std::atomic<int64_t> finished_count{0};
static_assert(std::atomic<int64_t>::is_always_lock_free);

// Makes only calls that are safe in a signal handler.
void say(const char* text, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(2, text, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text += n;
    size -= static_cast<size_t>(n);
  }
}

void end_program(int signal) {
  constexpr char kBefore[] = "\nr1: interrupted: ";
  const bool terminal = ::isatty(2) == 1;  // a progress count may stand on the line
  say(kBefore + (terminal ? 0 : 1), sizeof(kBefore) - 1 - (terminal ? 0 : 1));
  char digits[20];
  size_t begin = sizeof(digits);
  int64_t count = finished_count.load(std::memory_order_relaxed);
  do {
    digits[--begin] = static_cast<char>('0' + count % 10);
    count /= 10;
  } while (count > 0);
  say(digits + begin, sizeof(digits) - begin);
  say(live->after.data(), live->after.size());
  ::_exit(128 + signal);
}

}  // namespace

InterruptNotice::InterruptNotice(std::string what, int64_t total, std::string advice) {
  R1_CHECK(live == nullptr, "two notices at a time");
  live = new Notice{.after = " of " + std::to_string(total) + " " + what + " are finished." + advice + "\n"};
  finished_count = 0;
  struct sigaction action {};
  action.sa_handler = end_program;
  ::sigfillset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &live->old_int);
  ::sigaction(SIGTERM, &action, &live->old_term);
}

InterruptNotice::~InterruptNotice() {
  ::sigaction(SIGINT, &live->old_int, nullptr);
  ::sigaction(SIGTERM, &live->old_term, nullptr);
  delete live;
  live = nullptr;
}

void InterruptNotice::set_finished(int64_t finished) {
  finished_count.store(finished, std::memory_order_relaxed);
}

}  // namespace r1
