#include "cli/line_editor.h"

#include <fmt/format.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/sanitizer.h"
#include "cli/caught_signals.h"
#include "cli/input_history.h"
#include "cli/output.h"
#include "text/utf8.h"

#if defined(R1_ADDRESS_SANITIZER)
#include <sanitizer/lsan_interface.h>
#endif

namespace r1 {
namespace {

// libedit copies a function's name and description and does not free the copies.
void add_function(EditLine* editor, const char* name, const char* description,
                  unsigned char (*function)(EditLine*, int)) {
#if defined(R1_ADDRESS_SANITIZER)
  const __lsan::ScopedDisabler known;
#endif
  el_set(editor, EL_ADDFN, name, description, function);
}

}  // namespace

struct LineEditor::Impl {
  std::FILE* out = nullptr;
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
  std::string bytes;  // of a character that is still incomplete
  bool brackets_pastes = false;
  bool is_first = true;                      // true until the line's first character is read
  Outcome ended_by = Outcome::end_of_input;  // the reason why no character came

  explicit Impl(int output_fd);
  ~Impl();
  int next_character(wchar_t* c);
  bool wait_for_input();
  bool has_input() const;
  unsigned char take_paste();
  void suspend();

  static Impl& of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }
};

namespace {

constexpr const char* kBracketPastes = "\x1b[?2004h";
constexpr const char* kPlainPastes = "\x1b[?2004l";

// Keys that terminals send and libedit does not know: [sequence, editor command].
constexpr const char* kKeys[][2] = {
    {"\\e[200~", "r1-paste"},      {"\\e[3~", "ed-delete-next-char"}, {"\\e[H", "ed-move-to-beg"},
    {"\\e[F", "ed-move-to-end"},   {"\\e[1~", "ed-move-to-beg"},      {"\\e[4~", "ed-move-to-end"},
    {"\\e[1;5C", "em-next-word"},  {"\\e[1;5D", "ed-prev-word"},      {"^R", "em-inc-search-prev"},
    {"^W", "ed-delete-prev-word"},
};

// Selects UTF-8 even if the environment does not, because libedit decodes input by the locale.
void use_utf8() {
  const char* set = std::setlocale(LC_CTYPE, "");
  if (set == nullptr || std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0)
    std::setlocale(LC_CTYPE, "C.UTF-8");
}

bool is_dumb_terminal() {
  const char* term = std::getenv("TERM");
  return term == nullptr || *term == '\0' || std::strcmp(term, "dumb") == 0;
}

}  // namespace

LineEditor::Impl::Impl(int output_fd) {
  use_utf8();
  const int copy = ::dup(output_fd);
  out = copy < 0 ? nullptr : ::fdopen(copy, "w");
  if (out == nullptr) throw Error(fmt::format("the terminal cannot be opened: {}", std::strerror(errno)));
  editor = el_init("r1", stdin, out, stderr);
  history = history_init();
  if (editor == nullptr || history == nullptr)
    throw Error("the line editor cannot be started: out of memory");
  el_set(editor, EL_CLIENTDATA, this);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 0);  // CaughtSignals handles the signals
  el_set(
      editor, EL_PROMPT, +[](EditLine* e) { return of(e).prompt.data(); });
  el_set(
      editor, EL_GETCFN, +[](EditLine* e, wchar_t* c) { return of(e).next_character(c); });
  add_function(
      editor, "r1-paste", "Insert pasted text",
      +[](EditLine* e, int) -> unsigned char { return of(e).take_paste(); });
  for (const auto& [keys, command] : kKeys) el_set(editor, EL_BIND, keys, command, nullptr);
  HistEvent event;
  ::history(history, &event, H_SETSIZE, static_cast<int>(kHistoryLines));
  ::history(history, &event, H_SETUNIQUE, 1);
  el_set(editor, EL_HIST, ::history, history);
  el_source(editor, nullptr);  // reads the user's ~/.editrc
  brackets_pastes = !is_dumb_terminal();
}

LineEditor::Impl::~Impl() {
  if (editor != nullptr) el_end(editor);
  if (history != nullptr) history_end(history);
  if (out != nullptr) std::fclose(out);
}

// Stops the program as Ctrl-Z does, with the terminal in the state that the shell expects.
void LineEditor::Impl::suspend() {
  el_set(editor, EL_PREP_TERM, 0);
  ::raise(SIGSTOP);
  el_set(editor, EL_PREP_TERM, 1);
  el_set(editor, EL_REFRESH);
}

// Returns false if no input will come; ended_by then has the reason.
bool LineEditor::Impl::wait_for_input() {
  for (;;) {
    if (CaughtSignals::seen(SIGINT)) {
      ended_by = Outcome::interrupted;
      return false;
    }
    if (seen_termination() != 0) {
      ended_by = Outcome::terminated;
      return false;
    }
    if (CaughtSignals::seen(SIGWINCH)) {
      CaughtSignals::forget(SIGWINCH);
      el_resize(editor);
    }
    if (CaughtSignals::seen(SIGTSTP)) {
      CaughtSignals::forget(SIGTSTP);
      suspend();
    }
    pollfd files[2] = {{.fd = 0, .events = POLLIN, .revents = 0},
                       {.fd = CaughtSignals::wake_fd(), .events = POLLIN, .revents = 0}};
    if (::poll(files, 2, -1) < 0 && errno != EINTR) return true;  // read() will report the error
    if (files[1].revents != 0) {
      CaughtSignals::clear_wake();
      continue;
    }
    if (files[0].revents != 0) return true;
  }
}

bool LineEditor::Impl::has_input() const {
  pollfd file = {.fd = 0, .events = POLLIN, .revents = 0};
  return ::poll(&file, 1, 0) > 0;
}

// Returns the next character to libedit: 1, or 0 at the end of input. Bytes are read one by one, so that
// input typed ahead of an answer stays in the terminal's queue.
int LineEditor::Impl::next_character(wchar_t* c) {
  for (;;) {
    if (!bytes.empty()) {
      const Utf8Step step = decode_utf8(bytes, 0);
      if (!step.truncated) {
        bytes.erase(0, static_cast<size_t>(step.size));
        if (step.code == 0) continue;  // a NUL cannot be part of the text
        *c = static_cast<wchar_t>(step.valid ? step.code : 0xFFFD);
        return 1;
      }
    }
    const bool typed_ahead = is_first && has_input();
    is_first = false;
    if (!wait_for_input()) return 0;
    char byte = 0;
    const ssize_t n = ::read(0, &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    // A Ctrl-D that was typed during an answer arrives as a zero byte, because the terminal has taken it as
    // the end of input.
    if (n <= 0 || (byte == 0 && typed_ahead)) {
      ended_by = Outcome::end_of_input;
      return 0;
    }
    bytes += byte;
  }
}

unsigned char LineEditor::Impl::take_paste() {
  constexpr std::wstring_view kEnd = L"\x1b[201~";
  std::wstring text;
  wchar_t c = 0;
  while (!text.ends_with(kEnd) && el_wgetc(editor, &c) == 1) text += c;
  if (text.ends_with(kEnd)) text.resize(text.size() - kEnd.size());
  std::wstring clean;
  for (const wchar_t pasted : text) {
    const wchar_t kept = pasted == L'\r' ? L'\n' : pasted;  // terminals send Enter for a pasted newline
    if (kept >= 0x20 || kept == L'\n' || kept == L'\t') clean += kept;
  }
  if (!clean.empty()) el_winsertstr(editor, clean.c_str());
  return CC_REFRESH;
}

LineEditor::LineEditor(int output_fd) : impl_(std::make_unique<Impl>(output_fd)) {}
LineEditor::~LineEditor() = default;

LineEditor::Outcome LineEditor::read(const std::string& prompt, std::string& line) {
  const CaughtSignals caught({SIGWINCH, SIGTSTP});
  impl_->prompt = prompt;
  impl_->ended_by = Outcome::end_of_input;
  impl_->is_first = true;
  el_resize(impl_->editor);  // the window may have changed while an answer was shown
  const auto show = [&](const char* text) {
    std::fputs(text, impl_->out);
    std::fflush(impl_->out);
  };
  if (impl_->brackets_pastes) show(kBracketPastes);
  int length = 0;
  const char* text = el_gets(impl_->editor, &length);
  if (impl_->brackets_pastes) show(kPlainPastes);
  if (text == nullptr || length <= 0 || impl_->ended_by != Outcome::end_of_input) {
    show("\n");
    return impl_->ended_by;
  }
  line = text;
  if (line.ends_with('\n')) line.pop_back();
  return Outcome::line;
}

void LineEditor::add_history(const std::string& entry) {
  HistEvent event;
  history(impl_->history, &event, H_ENTER, entry.c_str());
}

}  // namespace r1
