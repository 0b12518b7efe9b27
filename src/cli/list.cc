// cli/list.cc: `r1 list`: the models in the cache.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/byte_text.h"
#include "base/error.h"
#include "cli/common.h"
#include "cli/output.h"
#include "formats/hub_cache.h"
#include "formats/json.h"
#include "model/gguf_config.h"

namespace r1 {
namespace {

// The commands that can use a model, and the reason if none can.
struct Abilities {
  std::vector<std::string> can;
  std::string family, why;  // why: "" if it can be run
};

Abilities abilities_of(const CachedModel& model) {
  Abilities out;
  if (!model.whole) {
    out.why = "files are missing: r1 pull " + model.name.text();
    return out;
  }
  try {
    const ModelConfig config = load_model_config(model.path);
    out.family = name_of(config.family);
    out.can = {"run", "score", "eval"};
    // A GGUF file can be trained on too: its weights are dequantised.
    std::error_code none;
    if (is_gguf(model.path) || std::filesystem::exists(model.path / "tokenizer.json", none)) {
      out.can.push_back("train");
    } else {
      out.can.clear();
      out.can.push_back("score");
    }
  } catch (const Error& e) {
    out.why = e.what();
  }
  return out;
}

std::string date_text(int64_t seconds) {
  if (seconds == 0) return "-";
  const auto time = static_cast<time_t>(seconds);
  std::tm parts{};
  ::localtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

std::string join_words(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

}  // namespace

int run_list(const ListOptions& options) {
  check_common(options.common);
  const std::filesystem::path cache = hub_cache_folder();
  const std::vector<CachedModel> models = list_hub_cache(cache);
  Json rows = Json::array();
  std::string text;
  size_t width = 5;
  for (const CachedModel& m : models) width = std::max(width, m.name.text().size());
  for (const CachedModel& m : models) {
    const Abilities abilities = abilities_of(m);
    const std::string name = m.name.text();
    Json row = Json::object();
    row.set("model", name).set("commit", m.commit).set("path", m.path.string()).set("bytes", m.bytes);
    row.set("last_used", m.used).set("family", abilities.family.empty() ? Json() : Json(abilities.family));
    row.set("can", Json::array_of(abilities.can))
        .set("why_not", abilities.why.empty() ? Json() : Json(abilities.why));
    rows.push_back(std::move(row));
    text += fmt::format("{:<{}}  {:>8}  {}  {:<16}  {}\n", name, width, byte_text(m.bytes),
                        m.commit.substr(0, 8), date_text(m.used),
                        abilities.why.empty() ? abilities.family + ": " + join_words(abilities.can)
                                              : "not usable: " + abilities.why);
  }
  if (options.common.json) {
    write_stdout(Json::object().set("cache", cache.string()).set("models", std::move(rows)).dump() + "\n");
    return 0;
  }
  if (models.empty()) {
    write_stderr(fmt::format("r1: no models are in {}; r1 pull org/name downloads one\n", cache.string()));
    return 0;
  }
  write_stdout(fmt::format("{:<{}}  {:>8}  {:<8}  {:<16}  {}\n", "MODEL", width, "SIZE", "COMMIT",
                           "LAST USED", "FOR") +
               text);
  return 0;
}

}  // namespace r1
