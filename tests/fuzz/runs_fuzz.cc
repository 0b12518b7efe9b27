// The Runs view: any bytes in a run's files, any query, and any name of a run give an answer or an error of one line.
// Paging back through rollouts comes to the file's beginning.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/run_views.h"
#include "server/runs.h"
#include "server/url_text.h"

namespace {

const std::filesystem::path& root() {
  static const std::filesystem::path path = [] {
    const auto folder =
        std::filesystem::temp_directory_path() / ("r1-runs-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder / "a");
    std::ofstream(folder / "a" / "metrics.jsonl") << "{\"step\":1}\n";
    return folder;
  }();
  return path;
}

void check_pages(std::string_view text) {
  int64_t end = std::ssize(text);
  constexpr int64_t kPart = 64;  // small, so that rows are longer than a part
  for (int64_t pages = 0; end > 0; ++pages) {
    R1_CHECK(pages <= std::ssize(text) + 2, "paging does not end");
    const int64_t begin = std::max<int64_t>(0, end - kPart);
    const r1::Json view = r1::rollouts_view(
        {.text = text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)), .begin = begin},
        {.limit = 2});
    if (view.at("older").is_null()) return;
    R1_CHECK(view.get_int("older") < end, "a page without progress");
    end = view.get_int("older");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int64_t begin = data[0] % 2;
  (void)r1::metrics_view({.text = text, .begin = begin}).dump();
  (void)r1::last_row_view({.text = text, .begin = begin}).dump();
  check_pages(text);
  static const r1::Runs runs({root()});
  for (const char* target : {"/runs", "/runs/metrics", "/runs/rollouts"}) {
    try {
      (void)runs.answer(target, std::string(text)).dump();
      (void)runs.answer(target, "run=" + std::string(text)).dump();
    } catch (const r1::Error& error) {
      R1_CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos,
               "an error of several lines");
    }
  }
  return 0;
}
