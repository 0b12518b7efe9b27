#include "text/chat_template.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "formats/jsonl.h"
#include "tests/text/text_test.h"
#include "text/chat_templates.h"

namespace r1::chat_template_test {
namespace {

constexpr int64_t kReleaseDay = 1737331200;  // 2025-01-20, the date used for renderings.jsonl

// Returns the text of "x.jinja", or of "DIR/tokenizer_config.json#chat_template" in the shared data, or "" if
// it is missing.
std::string template_text(const std::string& name) {
  const size_t hash = name.find('#');
  if (hash == std::string::npos) {
    const auto path = shared_data("templates") / name;
    return std::filesystem::exists(path) ? read_file(path) : "";
  }
  std::string file = name.substr(0, hash);
  constexpr std::string_view kConfigs = "model-configs/";
  if (file.starts_with(kConfigs)) file = "configs/" + file.substr(kConfigs.size());
  if (file.starts_with("qwen2/")) file = "configs/qwen2-7b" + file.substr(5);  // the same template
  auto path = shared_data(file);
  if (!std::filesystem::exists(path)) path = shared_data("tokenizers/" + file);
  return std::filesystem::exists(path) ? read_json(path).get_string("chat_template") : "";
}

// The expected result of a row of renderings.jsonl: a text, or nothing for an error. Plain Jinja refuses {%
// generation %}, so rows of such templates have transformers' text.
class Wanted {
 public:
  Wanted() {
    const Json rows = read_json(golden("generation.json"));
    for (const Json& row : rows.items())
      generation_.emplace(row.get_string("template") + " " + row.get_string("conversation"), row);
  }
  bool agrees(const Json& row, const std::string& got, const std::string& error) const {
    const auto at = generation_.find(row.get_string("template") + " " + row.get_string("conversation"));
    if (at == generation_.end()) {
      return row.at("error").is_null() ? error.empty() && got == row.get_string("rendered") : !error.empty();
    }
    if (at->second.contains("error")) return !error.empty();
    return error.empty() && sha256_hex(got) == at->second.get_string("sha256");
  }

 private:
  std::map<std::string, Json> generation_;
};

void show_difference(const Json& row, const std::string& got, const std::string& error) {
  const std::string want = row.get_string_or("rendered", "ERROR " + row.get_string_or("error", ""));
  const auto differs = std::mismatch(got.begin(), got.end(), want.begin(), want.end());
  const auto at = static_cast<size_t>(differs.first - got.begin());
  const size_t from = at < 60 ? 0 : at - 60;
  ADD_FAILURE() << row.get_string("template") << " " << row.get_string("conversation") << ": " << error
                << "\n  got  " << Json(got.substr(from, 200)).dump() << "\n  want "
                << Json(want.substr(std::min(from, want.size()), 200)).dump();
}

TEST(ChatTemplate, RendersPublishedTemplatesAsJinjaDoes) {
  const auto path = shared_data("templates/renderings.jsonl");
  R1_NEEDS(path);
  const Wanted wanted;
  int agree = 0;
  int rows = 0;
  for (const Json& row : read_jsonl(path)) {
    const std::string text = template_text(row.get_string("template"));
    if (text.empty()) continue;  // the shared data lack the template
    ++rows;
    std::string got;
    std::string error;
    try {
      got = ChatTemplates::of(text, "template")
                .render({.messages = row.at("messages"),
                         .tools = row.at("tools"),
                         .add_generation_prompt = row.get_bool("add_generation_prompt"),
                         .bos_token = row.get_string("bos_token"),
                         .eos_token = row.get_string("eos_token"),
                         .now = kReleaseDay});
    } catch (const Error& raised) {
      error = raised.what();
      EXPECT_EQ(error.find('\n'), std::string::npos) << error;
      EXPECT_NE(error.find("line "), std::string::npos) << error;
    }
    const bool same = wanted.agrees(row, got, error);
    agree += same;
    if (!same) show_difference(row, got, error);
  }
  EXPECT_GE(rows, 800);  // of 820: enough templates must be present for the test to count
  printf("%d of %d rows agree\n", agree, rows);
}

TEST(ChatTemplate, DoesWhatJinjaDoes) {
  const Json golden_file = read_json(golden("jinja.json"));
  for (const Json& row : golden_file.at("rows").items()) {
    const std::string& text = row.get_string("template");
    std::string got;
    std::string error;
    try {
      got = ChatTemplate(text).render({.kwargs = golden_file.at("variables")});
    } catch (const Error& raised) {
      error = raised.what();
    }
    if (row.contains("error")) {
      EXPECT_NE(error, "") << text << "\ngave " << got << "\nwant " << row.get_string("error");
    } else {
      EXPECT_EQ(got, row.get_string("rendered")) << text << "\nerror " << error;
    }
  }
}

std::string error_of(const std::string& text) {
  try {
    return "no error: " + ChatTemplate(text).render({}).substr(0, 100);
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ChatTemplate, NamesTheLineOfAnError) {
  EXPECT_EQ(error_of("a\nb {{ missing.x }}"), "chat template, line 2: 'missing' is undefined");
  EXPECT_EQ(error_of("a\n{% if x %}\n\n{{ 1 + }}"),
            "chat template, line 4: an expression is expected, not }}");
  EXPECT_EQ(error_of("{{ raise_exception('two\\nlines') }}"),
            "chat template, line 1: the template refuses: two?lines");
  EXPECT_EQ(error_of("\n{% generation %}"), "chat template, line 2: endgeneration is missing");
  EXPECT_EQ(error_of("\n{% include 'x' %}"), "chat template, line 2: unknown tag include");
}

TEST(ChatTemplate, EndsHostileTemplates) {
  const std::string deep(100'000, '(');
  const std::pair<std::string, const char*> rows[] = {
      {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "budget"},
      {"{% set ns = namespace(s='x') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", ""},
      {"{% set ns = namespace(s=[1]) %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
       "large"},
      {"{% set ns = namespace(s=[1]) %}{% for a in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ "
       "ns.s }}",
       "large"},
      {"{% set ns = namespace(s=[1]) %}{% for a in range(900) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s "
       "}}",
       "deep"},
      {"{% for a in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", "8 MiB"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
      {"{{ 'x' * 99999999999 }}", "8 MiB"},
      {"{{ [1] * 99999999999 }}", "8 MiB"},
      {"{{ 9223372036854775807 + 1 }}", "too large"},
      {"{{ 99999999999999999999 + 1 }}", "too large"},
      {"{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deep"},
      {"{% for a in range(99) recursive %}{% if loop.depth < 9 %}{{ loop(range(99)) }}{% endif %}{% endfor "
       "%}",
       "budget"},
      {"{{ '%99999999d' % 1 }}", "larger"},
      {"{{ '{:999999999}'.format(1) }}", "larger"},
      {"{{ '{:1000000}'.format(1) * 1000 }}", "8 MiB"},
      {"{{ 'x'.center(99999999) }}", "8 MiB"},
      {"{{ [1] | slice(99999999) | list }}", "8 MiB"},
      {"{{ [1] | batch(99999999, 0) | list }}", "8 MiB"},
      {"{% macro m() %}{{ varargs | length }}{% endmacro %}{% for a in range(999) %}{{ m(*range(99999)) }}{% "
       "endfor %}",
       "budget"},
      {"{{ range(9223372036854775807) }}", "range"},
      {"{{ 2 ** 9999999 }}", "too large"},
      {"{{ " + deep + "1" + std::string(100'000, ')') + " }}", "deep"},
      {"{{ " + std::string(100'000, '-') + "1 }}", "deep"},
      {"{{ 1" +
           [] {
             std::string s;
             for (int i = 0; i < 50'000; ++i) s += "+1";
             return s;
           }() +
           " }}",
       "too long"},
      {[] {
         std::string s;
         for (int i = 0; i < 5'000; ++i) s += "{% if true %}";
         return s;
       }(),
       "deep"},
      {"{{ a" +
           [] {
             std::string s;
             for (int i = 0; i < 50'000; ++i) s += "|e";
             return s;
           }() +
           " }}",
       "too long"},
      {"{{ 'x'.replace('', 'y' * 1000000).replace('', 'y' * 1000000) }}", ""},
      {"{{ ('a' * 5000000) | list | length }}", ""},
  };
  for (const auto& [text, reason] : rows) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find(reason), std::string::npos) << text.substr(0, 100) << ": " << error;
    EXPECT_FALSE(error.starts_with("no error")) << text.substr(0, 100);
  }
  // A value that refers to itself is not printed forever and does not leak.
  EXPECT_EQ(error_of("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}"), "no error: <Namespace>");
  EXPECT_EQ(error_of("{% set ns = namespace(n=none) %}{% for a in range(100000) %}{% set ns.n = "
                     "namespace(n=ns.n) %}{% endfor %}x"),
            "no error: x");
}

TEST(ChatTemplate, TellsTheTimeAskedFor) {
  EXPECT_EQ(ChatTemplate("{{ strftime_now('%d %b %Y') }}").render({.now = kReleaseDay}), "20 Jan 2025");
}

}  // namespace
}  // namespace r1::chat_template_test
