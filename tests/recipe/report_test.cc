// The report: the contents of a run's files arrive in the page, and nothing in them can break out of it.
#include "recipe/report.h"

#include "recipe/report_assets.h"
#include "recipe/report_data.h"
#include "tests/train/train_test_util.h"
#include "text/tokenizer.h"

namespace r1::report_test {
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
  // Makes a recipe's directory: evaluate, train, evaluate.
  fs::path recipe() const {
    Json stages = Json::object();
    stages.set("before", Json::object().set("kind", "eval").set("result", figures(0.25, "models/none")));
    stages.set("zero", Json::object().set("kind", "grpo").set("model", "runs/x/zero/model"));
    stages.set("after", Json::object().set("kind", "eval").set("result", figures(0.75, "runs/x/zero/model")));
    put("x/recipe.json", Json::object().set("recipe", "x").set("seed", 7).set("stages", stages).dump());
    put("x/recipe.toml", "# A copy of recipes/x y.toml\nname = \"x\"\n");
    put("x/zero/metrics.jsonl", metrics_row(1, 0.25) + metrics_row(2, 0.5) + metrics_row(3, 0.75));
    put("x/zero/config.toml", "# A copy of recipes/zero.toml\nseed = 7\n");
    put("x/zero/run.json",
        R"({"config":"recipes/zero.toml","numerics":"cpu-f32","settings":{"model":"../models/none",)"
        R"("rollout.group":4,"loss.normalise":"group","data.files":["secret"]}})");
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

// Returns the JSON that a page carries, found as a browser finds it: up to the first "</script".
Json data_of(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="data">)";
  const size_t begin = page.find(open) + open.size();
  return parse_json(page.substr(begin, page.find("</script", begin) - begin), "page");
}

// Returns the data of a page's only run.
Json run_of(const std::string& page) {
  const Json data = data_of(page);
  EXPECT_EQ(data.at("runs").size(), 1u);
  return data.at("runs").at(size_t{0});
}

std::string all_missing(const Json& data) {
  std::string all;
  for (const Json& sentence : data.at("missing").items()) all += sentence.string() + "\n";
  return all;
}

int64_t count(const std::string& text, std::string_view what) {
  int64_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST_F(Report, HoldsCurvesEvaluationsAndAnswersOfARecipe) {
  const fs::path path = write_report(recipe());
  EXPECT_EQ(path, root / "x" / "report.html");
  const Json data = run_of(read_file(path));
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
  ASSERT_EQ(data.at("comparisons").size(), 1u);
  const Json& change = data.at("comparisons").at(size_t{0});
  EXPECT_EQ(change.get_string("what"), "training");
  EXPECT_EQ(change.get_int("turned_right"), 1);
  EXPECT_EQ(change.get_int("stayed_right"), 1);
  const Json& example = change.at("examples").at(size_t{0});
  EXPECT_EQ(example.at("before").get_string("thought"), "no");
  EXPECT_EQ(example.at("after").get_string("thought"), "1+2+3=6 yes");
  EXPECT_EQ(example.at("after").get_string("answer"), "<answer>1+2+3</answer>");
  EXPECT_EQ(zero.get_string("base"), "none");
  EXPECT_EQ(zero.at("settings").dump(), R"({"rollout.group":4,"loss.normalise":"group"})");
  EXPECT_EQ(data.at("example").dump(),
            R"J({"task":"countdown3","question":"make 6 from 1 2 3","answer":"<answer>1+2+3</answer>"})J");
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{1}).string(),
            "r1 recipe 'recipes/x y.toml' --seed 7 --out " + (root / "x-again").string());
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{2}).string(),
            "r1 report " + (root / "x-again").string());
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
  // The page has the same elements as that of a harmless run, and the strings arrive whole.
  const std::string empty = report_page(parse_json(R"({"name":"","runs":[]})", ""));
  EXPECT_EQ(count(page, "<script"), count(empty, "<script"));
  EXPECT_EQ(count(page, "</script"), count(empty, "</script"));
  EXPECT_EQ(count(page, "<!--"), 0);
  EXPECT_EQ(count(page, "<img"), 0);
  const Json data = run_of(page);
  EXPECT_EQ(data.get_string("name"), kHostile);
  const Json& example = data.at("comparisons").at(size_t{0}).at("examples").at(size_t{0});
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
    std::string own = page;  // without Chart.js, whose text is not ours
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
  EXPECT_EQ(data.at("comparisons").size(), 0u);
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
  ASSERT_EQ(data.at("comparisons").size(), 1u) << "of the model of later nothing is known";
  EXPECT_EQ(data.at("comparisons").at(size_t{0}).get_string("after"), "after");
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
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{1}).string(),
            "r1 grpo " + (root / "a.toml").string() + " --out " + (root / "a-again").string());
  EXPECT_EQ(data.at("repeat").at("files").at(size_t{0}).get_string("text"),
            "# A copy of " + (root / "a.toml").string() + "\n" + read_file(root / "a.toml"));
  EXPECT_EQ(data.at("missing").size(), 0u) << data.at("missing").dump();
}

TEST_F(Report, AStageAloneNamesTheCommandThatMadeIt) {
  for (const std::string kind : {"pretrain", "sft", "grpo", "distill"}) {
    put(kind + "/metrics.jsonl", metrics_row(1, 0.5));  // the columns are the same for every kind
    put(kind + "/config.toml", "# A copy of recipes/" + kind + ".toml\nseed = 7\n");
    put(kind + "/run.json", Json::object().set("kind", kind).set("numerics", "cpu-f32").dump());
    const Json data = collect_report(root / kind);
    EXPECT_EQ(data.at("repeat").at("commands").at(size_t{1}).string(),
              "r1 " + kind + " recipes/" + kind + ".toml --out " + (root / kind).string() + "-again");
    EXPECT_EQ(data.at("training").at(size_t{0}).get_string("kind"), kind);
    EXPECT_EQ(data.at("missing").size(), 0u) << data.at("missing").dump();
  }
  // A run of an older version, and one whose run.json has foreign contents.
  for (const char* run : {R"({"numerics":"cpu-f32"})", R"({"kind":"rm -rf","numerics":"cpu-f32"})"}) {
    put("sft/run.json", run);
    const Json data = collect_report(root / "sft");
    EXPECT_EQ(data.at("repeat").at("commands").dump(), "[]");
    EXPECT_NE(data.at("missing").dump().find("does not say which command made this run"), std::string::npos);
  }
}

// A recipe with a teacher and a student. Its stages are before, zero, after, student, distill and distilled.
class ReportOfADistillation : public Report {
 protected:
  void SetUp() override {
    recipe();
    Json index = read_json(root / "x" / "recipe.json");
    Json stages = index.at("stages");
    const auto exam = [](double pass, const char* model) {
      return Json::object().set("kind", "eval").set("result", figures(pass, model));
    };
    stages.set("student", exam(0.1, "/home/me/models/small"));
    stages.set("distill", Json::object().set("kind", "distill").set("model", "runs/x/distill/model"));
    stages.set("distilled", exam(0.6, "/tmp/moved/x/distill/model"));
    stages.set("control", Json::object().set("kind", "grpo").set("model", "runs/x/control/model"));
    stages.set("controlled", exam(0.3, "runs/x/control/model"));
    stages.set("other", exam(0.4, "runs/x/control/model"));
    Json harder = stages.at("other").at("result");
    stages.set("other", Json::object().set("kind", "eval").set("result", harder.set("problems", 3)));
    put("x/recipe.json", index.set("stages", stages).dump());
    for (const char* name : {"distill", "control"})
      put(std::string("x/") + name + "/metrics.jsonl", R"({"step":1,"loss":2.0})");
    put("x/distill/run.json", R"({"settings":{"student":"small","teacher":"runs/x/zero/model"}})");
    put("x/control/run.json", R"({"settings":{"model":"../models/small"}})");
    for (const char* name : {"student", "distilled", "controlled", "other"})
      put(std::string("x/") + name + "/samples.jsonl", answer_row(0, 0, name[0] == 'd', "a"));
  }
};

TEST_F(ReportOfADistillation, ComparesWhatIsComparable) {
  std::vector<std::string> pairs;
  const Json data = collect_report(root / "x");
  for (const Json& c : data.at("comparisons").items())
    pairs.push_back(c.get_string("what") + " " + c.get_string("before") + " " + c.get_string("after"));
  EXPECT_EQ(pairs, (std::vector<std::string>{"training before after", "training student distilled",
                                             "teacher after distilled", "training student controlled",
                                             "method distilled controlled"}));
  const Json& teacher = data.at("comparisons").at(size_t{2});
  EXPECT_EQ(teacher.get_int("stayed_right"), 1);
  EXPECT_EQ(teacher.at("examples").size(), 0u) << "the teacher did not become the student";
  EXPECT_EQ(data.at("comparisons").at(size_t{1}).at("examples").size(), 1u);
  EXPECT_EQ(data.at("training").at(size_t{1}).get_string("teacher"), "zero");
}

TEST_F(ReportOfADistillation, WithoutARunsOriginThePageSaysSo) {
  fs::remove(root / "x" / "distill" / "run.json");
  const Json data = collect_report(root / "x");
  EXPECT_EQ(data.at("comparisons").size(), 2u);
  EXPECT_NE(all_missing(data).find("stage distill: run.json does not name the model that it began from"),
            std::string::npos)
      << all_missing(data);
}

TEST_F(ReportOfADistillation, ARunOfAnEarlierVersionNamesItsModelsInItsConfiguration) {
  put("x/distill/run.json", R"({"kind":"distill"})");
  put("x/distill/config.toml",
      "# A copy of d.toml\n# In place of its own: seed = 3, out = \"o\", optimizer.lr = 0.1, teacher = "
      "\"runs/x/zero/model\"\nteacher = \"none\"\nstudent = \"models/small\"\n");
  const Json data = collect_report(root / "x");
  EXPECT_EQ(data.at("comparisons").size(), 5u) << data.at("comparisons").dump();
  EXPECT_EQ(data.at("comparisons").at(size_t{2}).get_string("what"), "teacher");
}

TEST_F(Report, CountsWhatBecameOfTheAnswers) {
  std::string rows;
  const auto row = [&](bool correct, const char* why, const char* finish, int tokens) {
    Json json = Json::object().set("problem", 0).set("sample", 0).set("question", "q").set("text", "t");
    json.set("correct", correct).set("why", why).set("finish_reason", finish).set("tokens", tokens);
    rows += json.dump() + "\n";
  };
  row(true, "ok", "stop", 20);
  row(false, "truncated", "length", 111);
  row(false, "truncated", "length", 112);
  row(false, "number_reused", "stop", 9);
  row(false, "wrong_value", "stop", 9);
  row(false, "wrong_value", "stop", 9);
  row(false, "truncated", "loop", 300);
  put("s.jsonl", rows + "{\"problem\":1}\n");
  Missing missing;
  EXPECT_EQ(
      read_samples(root / "s.jsonl", missing).outcomes,
      parse_json(R"({"samples":7,"right":1,"cut_off":2,"limit":112,"wrong":[{"why":"wrong_value","count":2},)"
                 R"({"why":"loop","count":1},{"why":"number_reused","count":1}]})",
                 ""));
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_NE(missing[0].find("s.jsonl: 1 rows cannot be read"), std::string::npos);
}

TEST_F(Report, AThoughtThatThePromptOpenedIsShownAsAThought) {
  recipe();
  Json row = parse_json(answer_row(0, 0, true, "1+2+3=6 yes</think><answer>1+2+3</answer>"), "row");
  put("x/after/samples.jsonl", row.set("prompt_opened", true).dump() + "\n");
  const Json data = collect_report(root / "x");
  const Json& after = data.at("comparisons").at(size_t{0}).at("examples").at(size_t{0}).at("after");
  EXPECT_EQ(after.get_string("thought"), "1+2+3=6 yes");
  EXPECT_EQ(after.get_string("answer"), "<answer>1+2+3</answer>");
}

class ReportRollouts : public Report {
 protected:
  Tokenizer tokenizer = Tokenizer::load(base());
  std::string row(int step, int prompt, double reward, double advantage, const std::string& text,
                  const std::string& end = "<｜Assistant｜>") const {
    const std::string question = "problem " + std::to_string(step) + "." + std::to_string(prompt);
    Json json = Json::object().set("step", step).set("prompt", prompt).set("sample", 0);
    json.set("question", question);
    json.set("prompt_tokens", Json::array_of(tokenizer.encode("<｜User｜>" + question + end, false)));
    json.set("tokens", Json::array_of(tokenizer.encode(text + "<｜end▁of▁sentence｜>", false)));
    json.set("reward", reward).set("advantage", advantage).set("correct", reward > 0);
    json.set("why", reward > 0 ? "ok" : "wrong_value");
    return json.set("finish_reason", reward < 0 ? "length" : "stop").dump() + "\n";
  }
};

TEST_F(ReportRollouts, ShowTheBestAndTheWorstOfAGroupAtEachStep) {
  std::string rows;
  rows += row(1, 0, 0, 0, "<think>flat</think>1") + row(1, 0, 0, 0, "<think>flat</think>2");
  rows += row(1, 1, 0, -0.5, "<think>no</think><answer>3</answer>");
  rows += row(1, 1, 1, 1.5, "<think>yes</think><answer>4</answer>") + row(1, 1, -1, -1, "<think>cut");
  rows += row(1, 2, 1, 1, "<think>later</think>5") + row(1, 2, 0, -1, "<think>later</think>6");
  rows +=
      row(10, 0, 1, 0, "yes</think>7", "<｜Assistant｜><think>") + row(10, 0, 1, 0, "8") + "{\"step\":10}\n";
  put("samples.jsonl", rows);
  Missing missing;
  const Json steps = training_rollouts(root / "samples.jsonl", {root / "nowhere", base()}, missing);
  ASSERT_EQ(missing.size(), 1u) << "the broken row";
  ASSERT_EQ(steps.size(), 2u);
  const Json& first = steps.at(size_t{0});
  EXPECT_EQ(first.get_int("samples"), 7);
  EXPECT_EQ(first.get_int("right"), 2);
  EXPECT_EQ(first.get_int("cut_off"), 1);
  EXPECT_EQ(first.get_string("question"), "problem 1.1") << "the first group whose rewards differ";
  EXPECT_EQ(first.at("group").size(), 3u);
  EXPECT_TRUE(first.at("group").at(size_t{2}).get_bool("cut_off"));
  EXPECT_EQ(first.at("best").get_string("thought"), "yes");
  EXPECT_EQ(first.at("best").get_string("answer"), "<answer>4</answer>");
  EXPECT_EQ(first.at("worst").get_string("thought"), "cut");
  const Json& last = steps.at(size_t{1});
  EXPECT_EQ(last.get_int("step"), 10);
  EXPECT_FALSE(last.contains("worst")) << "all earned the same";
  EXPECT_EQ(last.at("best").get_string("thought"), "yes") << "the prompt opened the thought";
}

TEST_F(ReportRollouts, AreTakenEvenlyOverManySteps) {
  std::string rows;
  for (int step = 1; step <= 100; ++step) rows += row(step, 0, 0, 0, "x");
  put("samples.jsonl", rows);
  Missing missing;
  const Json steps = training_rollouts(root / "samples.jsonl", {}, missing);
  ASSERT_EQ(steps.size(), kMostSteps);
  EXPECT_EQ(steps.at(size_t{0}).get_int("step"), 1);
  EXPECT_EQ(steps.at(size_t{3}).get_int("step"), 50);
  EXPECT_EQ(steps.at(kMostSteps - 1).get_int("step"), 100);
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_NE(missing[0].find("no tokenizer was found"), std::string::npos);
}

TEST_F(Report, SeveralRunsShareAPage) {
  recipe();
  put("alone/metrics.jsonl", "{\"step\":1,\"loss\":2.0}\n");
  put("exam/eval.json", figures(0.5, "m").dump());
  const std::vector<fs::path> runs{root / "x", root / "alone", root / "exam"};
  const fs::path page = write_report(runs, root / "all.html");
  EXPECT_EQ(page, root / "all.html");
  const Json data = data_of(read_file(page));
  EXPECT_EQ(data.get_string("name"), "x, alone, exam");
  ASSERT_EQ(data.at("runs").size(), 3u);
  EXPECT_EQ(data.at("runs").at(size_t{0}), run_of(read_file(write_report(root / "x"))));
  EXPECT_EQ(data.at("runs").at(size_t{2}).at("evaluations").size(), 1u);
  // Runs with the same name are told apart.
  fs::create_directories(root / "copy");
  fs::copy(root / "x", root / "copy" / "x", fs::copy_options::recursive);
  const std::vector<fs::path> twins{root / "x", root / "copy" / "x"};
  EXPECT_EQ(data_of(read_file(write_report(twins, root / "twins.html"))).get_string("name"),
            (root / "x").string() + ", " + (root / "copy" / "x").string());
  const std::vector<fs::path> twice{root / "x", root / "x/"};
  try {
    write_report(twice, root / "twice.html");
    ADD_FAILURE() << "a run is no run to compare it with";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("is named twice"), std::string::npos) << e.what();
  }
}

TEST_F(Report, SaysWhenTheConfigurationHasChangedSince) {
  const fs::path config = write("a.toml", "seed = 7\n");
  put("a/metrics.jsonl", metrics_row(1, 0.5));
  put("a/run.json", R"({"kind":"grpo","numerics":"cpu-f32"})");
  put("a/config.toml", "# A copy of " + config.string() + "\n# In place of its own: out = \"a\"\nseed = 7\n");
  EXPECT_EQ(collect_report(root / "a").at("repeat").at("changed").size(), 0u);
  write("a.toml", "seed = 8\n");
  EXPECT_EQ(collect_report(root / "a").at("repeat").at("changed").dump(), "[\"" + config.string() + "\"]");
}

TEST_F(Report, AStageOfARecipeIsRepeatedByTheRecipe) {
  recipe();
  put("x/zero/run.json", R"({"kind":"grpo"})");
  const Json data = collect_report(root / "x" / "zero");
  EXPECT_EQ(data.at("repeat").at("commands").at(size_t{1}).string(),
            "r1 recipe 'recipes/x y.toml' --seed 7 --out " + (root / "x-again").string());
  // Optional stages were run, so only --all makes them again.
  put("x/recipe.toml", "# A copy of r.toml\n[[stage]]\nname = \"zero\"\noptional = true\n");
  EXPECT_EQ(collect_report(root / "x").at("repeat").at("commands").at(size_t{1}).string(),
            "r1 recipe r.toml --seed 7 --all --out " + (root / "x-again").string());
}

TEST_F(Report, NoRunIsOneClearLine) {
  EXPECT_NE(error_of(root / "nowhere").find("nowhere: there is no such directory"), std::string::npos);
  EXPECT_NE(error_of(root).find("is no run: neither recipe.json nor metrics.jsonl"), std::string::npos);
  EXPECT_NE(error_of(root).find("r1 recipe, pretrain, sft, grpo, ppo, distill wrote"), std::string::npos);
  put("file", "x");
  EXPECT_NE(error_of(root / "file").find("is a file"), std::string::npos);
  put("broken/recipe.json", "{\"recipe\":");
  EXPECT_NE(error_of(root / "broken").find("recipe.json"), std::string::npos);
  put("odd/recipe.json", "[1]");
  EXPECT_NE(error_of(root / "odd").find("recipe.json"), std::string::npos);
}

}  // namespace
}  // namespace r1::report_test
