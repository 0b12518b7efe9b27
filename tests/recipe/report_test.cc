// The report: what a run's files say arrives in the page, and nothing that they say can break out of it.
#include "recipe/report.h"

#include "recipe/report_assets.h"
#include "recipe/report_data.h"
#include "tests/train/train_test_util.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHostile = "</script><script>alert(1)</script><!-- @DATA@ <img src=x onerror=alert(2)>";

std::string metrics_row(int step, double accuracy, double difference = 0) {
  Json row = Json::object();
  row.set("step", step).set("wall_s", 2.0 * step).set("tokens", 1000 * step).set("loss", 1.0 / step);
  row.set("accuracy", accuracy).set("reward", accuracy).set("kl", 0.0);
  row.set("sampler_trainer_max_abs", difference).set("sample_s", 0.5).set("train_s", 1.0).set("step_s", 2.0);
  return row.dump() + "\n";
}

Json figures(double pass, const std::string& model) {
  Json json = Json::object();
  json.set("problems", 2).set("samples", 4).set("pass_at_1", pass).set("pass_at_4", pass + 0.1);
  json.set("low", pass - 0.05).set("high", pass + 0.05).set("mean_length", 30.0).set("mean_thinking", 20.0);
  return json.set("truncated", 0.01).set("tokens", 1234).set("task", "countdown3").set("model", model);
}

std::string answer_row(int problem, int sample, bool correct, const std::string& text,
                       const std::string& question = "make 6 from 1 2 3") {
  Json row = Json::object();
  row.set("problem", problem).set("sample", sample).set("question", question).set("text", text);
  return row.set("correct", correct).set("why", correct ? "ok" : "wrong_value").set("tokens", 9).dump() +
         "\n";
}

class Report : public RunFolder {
 protected:
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    write_file_atomically(root / name, text);
  }
  // A recipe's directory: evaluate, train, evaluate.
  fs::path recipe() const {
    Json stages = Json::object();
    stages.set("before", Json::object().set("kind", "eval").set("result", figures(0.25, "models/none")));
    stages.set("zero", Json::object().set("kind", "grpo").set("model", "runs/x/zero/model"));
    stages.set("after", Json::object().set("kind", "eval").set("result", figures(0.75, "runs/x/zero/model")));
    put("x/recipe.json", Json::object().set("recipe", "x").set("seed", 7).set("stages", stages).dump());
    put("x/recipe.toml", "# A copy of recipes/x y.toml\nname = \"x\"\n");
    put("x/zero/metrics.jsonl", metrics_row(1, 0.25) + metrics_row(2, 0.5) + metrics_row(3, 0.75));
    put("x/zero/config.toml", "# A copy of recipes/zero.toml\nseed = 7\n");
    put("x/zero/run.json", R"({"config":"recipes/zero.toml","numerics":"cpu-f32"})");
    put("x/before/samples.jsonl", answer_row(0, 0, false, "<think>no</think><answer>1</answer>") +
                                      answer_row(0, 1, true, "never shown") + answer_row(1, 0, true, "a"));
    put("x/after/samples.jsonl", answer_row(0, 0, true, "<think>1+2+3=6 yes</think><answer>1+2+3</answer>") +
                                     answer_row(1, 0, true, "b"));
    return root / "x";
  }
  static std::string error_of(const fs::path& run) {
    try {
      write_report(run);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

// The JSON that a page carries, found as a browser finds it: up to the first "</script".
Json data_of(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(open) + open.size();
  return parse_json(page.substr(begin, page.find("</script", begin) - begin), "page");
}

int64_t count(const std::string& text, std::string_view what) {
  int64_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST_F(Report, HoldsCurvesEvaluationsAndAnswersOfARecipe) {
  const fs::path path = write_report(recipe());
  EXPECT_EQ(path, root / "x" / "report.html");
  const Json data = data_of(read_file(path));
  EXPECT_EQ(data.get_string("name"), "x");
  const Json& zero = data.at("training").at(size_t{0});
  EXPECT_EQ(zero.get_string("name"), "zero");
  EXPECT_EQ(zero.at("columns").at("accuracy"), parse_json("[0.25,0.5,0.75]", ""));
  EXPECT_EQ(zero.at("ends").at("accuracy"), parse_json("[0.25,0.75]", ""));
  EXPECT_EQ(zero.at("zero"), parse_json(R"(["kl","sampler_trainer_max_abs"])", ""));
  EXPECT_EQ(zero.get_number("sampler_trainer"), 0.0);
  EXPECT_EQ(zero.get_number("tokens"), 3000.0);
  EXPECT_EQ(
      zero.at("phases"),
      parse_json(
          R"([{"name":"sample_s","median":0.5,"share":0.25},{"name":"train_s","median":1.0,"share":0.5},)"
          R"({"name":"other","median":null,"share":0.25},{"name":"step_s","median":2.0,"share":1.0}])",
          ""));
  ASSERT_EQ(data.at("evaluations").size(), 2u);
  const Json& after = data.at("evaluations").at(size_t{1});
  EXPECT_EQ(after.get_string("name"), "after");
  EXPECT_EQ(after.at("pass_at").at(size_t{0}), parse_json(R"({"k":"1","value":0.75})", ""));
  EXPECT_EQ(after.at("spent").dump(), R"({"trained":3000.0})") << "the model of zero saw 3000 tokens";
  EXPECT_FALSE(data.at("evaluations").at(size_t{0}).contains("spent"));
  ASSERT_EQ(data.at("changes").size(), 1u);
  const Json& change = data.at("changes").at(size_t{0});
  EXPECT_EQ(change.get_int("turned_right"), 1);
  EXPECT_EQ(change.get_int("stayed_right"), 1);
  const Json& example = change.at("examples").at(size_t{0});
  EXPECT_EQ(example.at("before").get_string("thought"), "no");
  EXPECT_EQ(example.at("after").get_string("thought"), "1+2+3=6 yes");
  EXPECT_EQ(example.at("after").get_string("answer"), "<answer>1+2+3</answer>");
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{0}).string(),
            "r1 recipe 'recipes/x y.toml' --seed 7 --out " + (root / "x").string());
  EXPECT_EQ(data.at("repeat").at("files").at(size_t{1}).get_string("text"),
            "# A copy of recipes/zero.toml\nseed = 7\n");
  EXPECT_EQ(data.at("missing").size(), 0u) << data.at("missing").dump();
}

TEST_F(Report, NoStringOfARunEndsItsElement) {
  recipe();
  put("x/before/samples.jsonl", answer_row(0, 0, false, kHostile, kHostile));
  put("x/after/samples.jsonl",
      answer_row(0, 0, true, std::string("<think>") + kHostile + "</think>" + kHostile, kHostile));
  put("x/zero/config.toml", std::string("# ") + kHostile + "\n");
  Json index = read_json(root / "x" / "recipe.json");
  index.set("recipe", kHostile);
  put("x/recipe.json", index.dump());
  const std::string page = read_file(write_report(root / "x"));
  // The same elements as of a harmless run, and the strings arrive whole.
  const std::string empty = report_page(parse_json(R"({"name":""})", ""));
  EXPECT_EQ(count(page, "<script"), count(empty, "<script"));
  EXPECT_EQ(count(page, "</script"), count(empty, "</script"));
  EXPECT_EQ(count(page, "<!--"), 0);
  EXPECT_EQ(count(page, "<img"), 0);
  const Json data = data_of(page);
  EXPECT_EQ(data.get_string("name"), kHostile);
  const Json& example = data.at("changes").at(size_t{0}).at("examples").at(size_t{0});
  EXPECT_EQ(example.get_string("question"), kHostile);
  EXPECT_EQ(example.at("after").get_string("thought"), kHostile);
}

TEST_F(Report, CarriesAllThatItNeeds) {
  const std::string page = read_file(write_report(recipe()));
  for (const std::string_view part : {report_assets::page_css(), report_assets::page_js(),
                                      report_assets::charts_js(), report_assets::chart_js()}) {
    EXPECT_NE(page.find(part), std::string::npos) << part.substr(0, 80);
    EXPECT_EQ(std::string(part).find("</script"), std::string::npos);
  }
  EXPECT_GT(report_assets::chart_js().size(), 100000u);
  EXPECT_NE(report_assets::chart_js().find("MIT License"), std::string_view::npos) << "the licence's notice";
  for (const char* fetch : {"src=\"", "<link", "@import", "url("}) {
    std::string own = page;  // without Chart.js, which is somebody else's text
    own.erase(own.find(report_assets::chart_js()), report_assets::chart_js().size());
    EXPECT_EQ(own.find(fetch), std::string::npos) << fetch;
  }
}

TEST_F(Report, MadeAgainHasTheSameBytes) {
  const std::string first = read_file(write_report(recipe()));
  EXPECT_EQ(read_file(write_report(root / "x", root / "again.html")), first);
  EXPECT_EQ(read_file(write_report(root / "x/", root / "slash.html")), first);
}

TEST_F(Report, MissingPiecesAreSentences) {
  recipe();
  for (const char* name :
       {"x/recipe.toml", "x/zero/metrics.jsonl", "x/zero/config.toml", "x/after/samples.jsonl"})
    fs::remove(root / name);
  const Json data = collect_report(root / "x");
  EXPECT_EQ(data.at("training").size(), 0u);
  EXPECT_EQ(data.at("changes").size(), 0u);
  EXPECT_EQ(data.at("evaluations").size(), 2u);
  std::string all;
  for (const Json& sentence : data.at("missing").items()) all += sentence.string() + "\n";
  EXPECT_NE(all.find("recipe.toml is missing"), std::string::npos) << all;
  EXPECT_NE(all.find("stage zero (grpo): neither metrics.jsonl"), std::string::npos) << all;
  EXPECT_NE(all.find("zero: has no config.toml, and recipes/zero.toml is not there"), std::string::npos)
      << all;
  EXPECT_NE(all.find("after/samples.jsonl is missing"), std::string::npos) << all;
}

TEST_F(Report, StagesAreKnownByWhatTheyHold) {
  recipe();
  Json index = read_json(root / "x" / "recipe.json");
  Json stages = index.at("stages");
  const Json tokens = Json::object().set("trained", 500).set("teacher_sampled", 900).set("odd", "text");
  stages.set("teach", Json::object().set("kind", "distill").set("model", "m").set("tokens", tokens));
  Json tasks = Json::object().set("hard", figures(0.5, "m").set("task", "hard")).set("seconds", 3.0);
  stages.set("exam", Json::object().set("kind", "tournament").set("result", tasks));
  stages.set("later", Json::object().set("kind", "eval").set("result", figures(0.5, "m")));
  put("x/later/samples.jsonl", answer_row(0, 0, true, "c") + answer_row(1, 0, false, "d"));
  stages.set("../secret", Json::object().set("kind", "eval"));
  put("x/recipe.json", index.set("stages", stages).dump());
  put("x/teach/metrics.jsonl", R"({"step":1,"loss":2.0,"lr":0.001,"novel_figure":5})"
                               "\n");
  put("x/running/metrics.jsonl", metrics_row(1, 0.5) + R"({"step":2,"lo)");  // not in recipe.json, torn
  const Json data = collect_report(root / "x");
  ASSERT_EQ(data.at("training").size(), 3u);
  EXPECT_EQ(data.at("training").at(size_t{1}).get_string("kind"), "distill");
  EXPECT_EQ(data.at("training").at(size_t{1}).at("columns").at("novel_figure"), parse_json("[5]", ""));
  EXPECT_EQ(data.at("training").at(size_t{1}).at("spent").dump(), R"({"trained":500,"teacher_sampled":900})");
  EXPECT_EQ(data.at("training").at(size_t{2}).get_string("name"), "running");
  EXPECT_EQ(data.at("training").at(size_t{2}).get_int("rows"), 1);
  ASSERT_EQ(data.at("evaluations").size(), 4u);
  EXPECT_EQ(data.at("evaluations").at(size_t{2}).get_string("name"), "exam/hard");
  ASSERT_EQ(data.at("changes").size(), 2u) << "before against after, and against later";
  EXPECT_EQ(data.at("changes").at(size_t{1}).get_string("after"), "later");
  EXPECT_EQ(data.at("changes").at(size_t{1}).get_int("turned_wrong"), 1);
  std::string all;
  for (const Json& sentence : data.at("missing").items()) all += sentence.string() + "\n";
  EXPECT_NE(all.find("\"../secret\""), std::string::npos) << all;
  EXPECT_NE(all.find("stage running is begun"), std::string::npos) << all;
  EXPECT_NE(all.find("running/metrics.jsonl: 1 lines"), std::string::npos) << all;
}

TEST_F(Report, DifferenceInAnyRowIsSeenAlsoWhereRowsAreLeftOut) {
  constexpr int kRows = 4001;
  std::string rows;
  for (int step = 1; step <= kRows; ++step) rows += metrics_row(step, 0.5, step == 1234 ? 1e-9 : 0.0);
  put("long/metrics.jsonl", rows);
  Missing missing;
  const Json curves = training_curves(root / "long" / "metrics.jsonl", missing);
  EXPECT_EQ(curves.get_int("rows"), kRows);
  EXPECT_EQ(curves.get_int("every"), 3);
  EXPECT_EQ(curves.get_number("sampler_trainer"), 1e-9);
  EXPECT_EQ(curves.at("zero"), parse_json(R"(["kl"])", ""));
  const Json& steps = curves.at("columns").at("step");
  EXPECT_EQ(steps.size(), 1334u);
  EXPECT_EQ(steps.at(steps.size() - 1).number(), kRows);
}

TEST_F(Report, RowsMayHoldDifferentFields) {
  put("mixed/metrics.jsonl", "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"loss\":null,\"late\":1.0}\n[]\n");
  Missing missing;
  const Json curves = training_curves(root / "mixed" / "metrics.jsonl", missing);
  EXPECT_EQ(curves.at("columns").dump(), R"({"step":[1,2],"loss":[2,null],"late":[null,1]})");
  EXPECT_EQ(missing.size(), 1u);
}

TEST_F(Report, AStageAloneHasAReport) {
  ThreadPool threads(2);
  SilentReporter reporter;
  run_grpo_config(grpo_config("a.toml", "a"), {}, threads, reporter);
  const Json data = collect_report(root / "a");
  EXPECT_EQ(data.get_string("name"), "a");
  EXPECT_EQ(data.at("training").at(size_t{0}).get_int("rows"), 4);
  EXPECT_EQ(data.at("training").at(size_t{0}).get_number("sampler_trainer"), 0.0);
  EXPECT_TRUE(data.at("training").at(size_t{0}).get_bool("finished"));
  EXPECT_EQ(data.at("models").at(size_t{0}).get_string("architecture"), "deepseek_v3");
  EXPECT_GT(data.at("models").at(size_t{0}).get_int("parameters"), 1000000);
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{0}).string(), "r1 grpo " + (root / "a.toml").string());
  EXPECT_EQ(data.at("repeat").at("files").at(size_t{0}).get_string("text"),
            "# A copy of " + (root / "a.toml").string() + "\n" + read_file(root / "a.toml"));
  EXPECT_EQ(data.at("missing").size(), 0u) << data.at("missing").dump();
}

TEST_F(Report, AStageAloneNamesTheCommandThatMadeIt) {
  for (const std::string kind : {"pretrain", "sft", "grpo", "distill"}) {
    put(kind + "/metrics.jsonl", metrics_row(1, 0.5));  // the same columns, whatever the kind
    put(kind + "/config.toml", "# A copy of recipes/" + kind + ".toml\nseed = 7\n");
    put(kind + "/run.json", Json::object().set("kind", kind).set("numerics", "cpu-f32").dump());
    const Json data = collect_report(root / kind);
    EXPECT_EQ(data.at("repeat").at("commands").at(size_t{0}).string(),
              "r1 " + kind + " recipes/" + kind + ".toml");
    EXPECT_EQ(data.at("training").at(size_t{0}).get_string("kind"), kind);
    EXPECT_EQ(data.at("missing").size(), 0u) << data.at("missing").dump();
  }
  // A run of an older version, and one whose run.json is anybody's.
  for (const char* run : {R"({"numerics":"cpu-f32"})", R"({"kind":"rm -rf","numerics":"cpu-f32"})"}) {
    put("sft/run.json", run);
    const Json data = collect_report(root / "sft");
    EXPECT_EQ(data.at("repeat").at("commands").dump(), "[\"r1 report " + (root / "sft").string() + "\"]");
    EXPECT_NE(data.at("missing").dump().find("does not say which command made this run"), std::string::npos);
  }
}

TEST_F(Report, NoRunIsOneClearLine) {
  EXPECT_NE(error_of(root / "nowhere").find("nowhere: there is no such directory"), std::string::npos);
  EXPECT_NE(error_of(root).find("is no run: neither recipe.json nor metrics.jsonl"), std::string::npos);
  EXPECT_NE(error_of(root).find("r1 recipe, pretrain, sft, grpo, distill wrote"), std::string::npos);
  put("file", "x");
  EXPECT_NE(error_of(root / "file").find("is a file"), std::string::npos);
  put("broken/recipe.json", "{\"recipe\":");
  EXPECT_NE(error_of(root / "broken").find("recipe.json"), std::string::npos);
  put("odd/recipe.json", "[1]");
  EXPECT_NE(error_of(root / "odd").find("recipe.json"), std::string::npos);
}

}  // namespace
}  // namespace r1
