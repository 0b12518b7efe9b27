// The Runs view: what is listed, what is read, and what hostile folders and files cannot do.
#include "server/runs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "server/api_error.h"
#include "server/run_files.h"
#include "server/run_views.h"
#include "tests/server/server_test_util.h"

namespace r1::runs_test {
namespace {

using namespace test;
namespace fs = std::filesystem;

class RunsView : public ::testing::Test {
 protected:
  RunsView()
      : root(fs::temp_directory_path() / ("r1-runs-" + std::to_string(::getpid()) + "-" +
                                          ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(root);
    fs::create_directories(root);
  }
  ~RunsView() override { fs::remove_all(root); }

  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name, std::ios::binary) << text;
  }
  Json ask(const std::string& target, const std::string& query = "") const {
    return Runs({root}).answer(target, query);
  }
  int status_of(const std::string& target, const std::string& query) const {
    try {
      ask(target, query);
    } catch (const ApiError& e) {
      return e.fields().status;
    }
    return 200;
  }
  std::vector<std::string> listed() const {
    std::vector<std::string> ids;
    const Json list = ask("/runs");
    for (const Json& run : list.at("runs").items()) ids.push_back(run.get_string("id"));
    std::ranges::sort(ids);
    return ids;
  }

  fs::path root;
};

std::string sample_row(int step, int sample, bool correct) {
  return Json::object()
             .set("step", step)
             .set("prompt", 0)
             .set("sample", sample)
             .set("task", "countdown3")
             .set("question", "Make 3.")
             .set("gold", "3")
             .set("text", "<think>1+2</think>It is 3.")
             .set("tokens", Json::array().push_back(1).push_back(2))
             .set("reward", correct ? 1.0 : 0.0)
             .set("advantage", 0.5)
             .set("correct", correct)
             .set("why", correct ? "ok" : "wrong_value")
             .set("finish_reason", "stop")
             .dump() +
         "\n";
}

TEST_F(RunsView, ListsRunsStagesAndEvaluationsTheNewestFirst) {
  put("a/metrics.jsonl", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1.5}\n");
  put("a/run.json", R"({"kind":"sft","settings":{"optimizer.steps":4},"finished":2})");
  put("a/checkpoints/step-000001/metrics.jsonl", "{}\n");  // not looked at: a run's folders are its own
  put("b/recipe.json", "{}");
  put("b/zero/metrics.jsonl", "{\"step\":7,\"reward\":0.5}\n");
  put("b/zero/run.json", R"({"kind":"grpo","settings":{"optimizer.steps":7},"finished":7})");
  put("b/after/eval.json", R"({"pass_at_1":0.5})");
  put("group/c/metrics.jsonl", "");
  put("notes/readme.txt", "no run");
  put(".hidden/metrics.jsonl", "{}\n");
  fs::last_write_time(root / "b/zero/metrics.jsonl",
                      fs::file_time_type::clock::now() + std::chrono::hours(1));
  const Json list = ask("/runs");
  EXPECT_EQ(listed(), (std::vector<std::string>{"0/a", "0/b", "0/b/after", "0/b/zero", "0/group/c"}));
  EXPECT_EQ(list.at("runs").at(size_t{0}).get_string("id"), "0/b/zero");
  for (const Json& run : list.at("runs").items()) {
    const std::string id = run.get_string("id");
    if (id == "0/a") {
      EXPECT_EQ(run.get_string("kind"), "sft");
      EXPECT_EQ(run.get_int("step"), 2);
      EXPECT_EQ(run.get_int("steps"), 4);
      EXPECT_EQ(run.at("last").get_number("loss"), 1.5);
    }
    EXPECT_EQ(run.get_bool("finished"), id == "0/b/zero" || id == "0/b/after") << id;
  }
  EXPECT_EQ(list.at("missing").size(), 0u);
}

TEST_F(RunsView, ADirectoryMayItselfBeARun) {
  put("metrics.jsonl", "{\"step\":3,\"loss\":2}\n");
  EXPECT_EQ(listed(), std::vector<std::string>{"0"});
  EXPECT_EQ(ask("/runs/metrics", "run=0").get_int("step"), 3);
}

TEST_F(RunsView, MetricsHaveCurvesWarningsSettingsAndFiles) {
  std::string rows;
  for (int step = 1; step <= 20; ++step) {
    rows += Json::object()
                .set("step", step)
                .set("reward", 0.25)
                .set("entropy", step < 8 ? 1.0 : 0.001)
                .set("kl", 0)
                .set("groups_without_signal", step > 15 ? 1 : 0)
                .dump() +
            "\n";
  }
  put("a/metrics.jsonl", rows + "{\"step\":21,\"rew");  // the last row is being written
  put("a/run.json",
      R"({"kind":"grpo","numerics":"cpu-f32","settings":{"optimizer.steps":40,"data.files":[1]}})");
  put("a/eval.json", R"({"pass_at_1":0.5,"task":"countdown3"})");
  put("a/samples.jsonl", sample_row(1, 0, true));
  const Json run = ask("/runs/metrics", "run=0%2Fa");
  const Json& curves = run.at("curves");
  EXPECT_EQ(curves.get_int("rows"), 20);
  EXPECT_EQ(curves.at("columns").at("reward").size(), 20u);
  EXPECT_EQ(curves.at("zero"), parse_json(R"(["kl"])", ""));
  EXPECT_EQ(run.get_int("step"), 20);
  ASSERT_EQ(run.at("warnings").size(), 2u) << run.dump();
  EXPECT_NE(run.at("warnings").at(size_t{0}).string().find("entropy has collapsed"), std::string::npos);
  EXPECT_NE(run.at("warnings").at(size_t{1}).string().find("has not varied"), std::string::npos);
  EXPECT_EQ(run.at("settings").get_int("optimizer.steps"), 40);
  EXPECT_EQ(run.at("evaluation").get_number("pass_at_1"), 0.5);
  EXPECT_EQ(run.at("files").get_int("samples"),
            static_cast<int64_t>(fs::file_size(root / "a/samples.jsonl")));
  EXPECT_FALSE(run.at("files").contains("evals"));
  EXPECT_EQ(run.at("missing").size(), 0u);
}

TEST_F(RunsView, RolloutsComeFromTheEndAndPageBackToTheBeginning) {
  std::string rows;
  for (int step = 1; step <= 10; ++step) {
    for (int sample = 0; sample < 3; ++sample) rows += sample_row(step, sample, sample == 0);
  }
  put("a/samples.jsonl", rows + "{\"step\":11,\"torn");
  put("a/run.json", "{}");
  std::vector<std::pair<int64_t, int64_t>> seen;
  std::string before;
  for (int pages = 0; pages < 10; ++pages) {
    const Json page = ask("/runs/rollouts", "run=0/a&limit=7" + before);
    for (const Json& row : page.at("rows").items()) {
      seen.emplace_back(row.get_int("step"), row.get_int("sample"));
      EXPECT_EQ(row.get_string("thought"), "1+2");
      EXPECT_EQ(row.get_string("answer"), "It is 3.");
      EXPECT_EQ(row.get_int("tokens"), 2);
      EXPECT_EQ(row.get_int("problem"), 0);
      EXPECT_EQ(row.get_bool("correct"), row.get_int("sample") == 0);
    }
    EXPECT_EQ(page.get_int("unreadable"), 0);
    if (page.at("older").is_null()) break;
    before = "&before=" + std::to_string(page.get_int("older"));
  }
  ASSERT_EQ(seen.size(), 30u);
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].first, 10 - static_cast<int64_t>(i / 3));
    EXPECT_EQ(seen[i].second, 2 - static_cast<int64_t>(i % 3));
  }
  EXPECT_EQ(ask("/runs/rollouts", "run=0/a&verdict=wrong&limit=100").at("rows").size(), 20u);
  EXPECT_EQ(ask("/runs/rollouts", "run=0/a&verdict=right&limit=100").at("rows").size(), 10u);
}

TEST_F(RunsView, PathsLeadNowhereElse) {
  put("a/metrics.jsonl", "{\"step\":1}\n");
  put("a/samples.jsonl", sample_row(1, 0, true));
  put("a/model/b/metrics.jsonl", "{\"step\":1}\n");
  for (const char* id :
       {"0/../a", "0/a/..", "0/.", "0//a", "0/a/", "/etc", "1", "0/b", "", "-1", "0a", "0/a%00",
        "00000000000000000000001", "0/a/model/b/c/d", "..", "0/a/metrics.jsonl", "18446744073709551616"})
    EXPECT_EQ(status_of("/runs/metrics", std::string("run=") + id), 404) << id;
  EXPECT_EQ(status_of("/runs/metrics", "run=0%2F..%2F..%2Fetc"), 404);
  EXPECT_EQ(status_of("/runs/metrics", ""), 400);
  for (const char* bad : {"run=0/a&file=../a/samples", "run=0/a&file=metrics", "run=0/a&limit=0",
                          "run=0/a&limit=201", "run=0/a&limit=x", "run=0/a&before=-1",
                          "run=0/a&verdict=maybe", "run=0/a&more=1", "run=0/a&before=99999999999999999999"})
    EXPECT_EQ(status_of("/runs/rollouts", bad), 400) << bad;
  EXPECT_EQ(status_of("/runs/rollouts", "run=0/a&file=evals"), 404);
  EXPECT_EQ(status_of("/runs/rollouts", "run=0/a&before=99999999999"), 200);
  EXPECT_EQ(status_of("/runs", "x=1"), 400);
  EXPECT_THROW(Runs({root / "nothing"}), Error);
  EXPECT_THROW(Runs({root / "a/metrics.jsonl"}), Error);
  EXPECT_THROW(Runs({root, root / "a" / ".."}), Error);
}

TEST_F(RunsView, LinksPipesAndDevicesAreNotRead) {
  put("secret/metrics.jsonl", "{\"step\":1,\"loss\":0.271828182845}\n");
  put("runs/real/run.json", "{}");
  fs::create_directory_symlink(root / "secret", root / "runs/link");
  fs::create_symlink(root / "secret/metrics.jsonl", root / "runs/real/metrics.jsonl");
  fs::create_symlink(root / "secret/metrics.jsonl", root / "runs/real/samples.jsonl");
  fs::create_directories(root / "runs/pipe");
  ASSERT_EQ(::mkfifo((root / "runs/pipe/metrics.jsonl").c_str(), 0600), 0);  // reading it would wait for ever
  const Runs runs({root / "runs"});
  const Json list = runs.answer("/runs", "");
  ASSERT_EQ(list.at("runs").size(), 1u) << list.dump();
  EXPECT_EQ(list.at("runs").at(size_t{0}).get_string("id"), "0/real");
  EXPECT_EQ(list.dump().find("0.2718"), std::string::npos);
  EXPECT_FALSE(runs.answer("/runs/metrics", "run=0/real").contains("curves"));
  for (const char* query : {"run=0/link", "run=0/pipe"})
    EXPECT_THROW(runs.answer("/runs/metrics", query), ApiError);
  EXPECT_THROW(runs.answer("/runs/rollouts", "run=0/real"), ApiError);
}

TEST_F(RunsView, DamagedFilesAreLeftOutAndNamed) {
  put("a/metrics.jsonl",
      "not "
      "json\n[1]\n{\"step\":1,\"loss\":2}\n{\"step\":\"two\",\"reward\":\"high\"}\n{\"step\":3,\"loss\":"
      "1e400}\n"
      "{\"step\":4,\"step\":5}\n" +
          std::string(200, '[') + "\n\n\xff\xfe\n{\"reward\":[]}\n");
  put("a/run.json", "{\"kind\":7,\"settings\":[],\"finished\":\"yes\"}");
  put("a/eval.json", std::string(2 << 20, ' ') + "{}");
  put("a/samples.jsonl", "{}\n{\"correct\":1}\n" + sample_row(1, 0, true) +
                             "{\"correct\":true,\"text\":7,\"tokens\":\"x\",\"step\":[]}\n\x01\n");
  const Json run = ask("/runs/metrics", "run=0/a");
  EXPECT_EQ(run.get_string("kind"), "training");
  EXPECT_EQ(run.at("curves").get_int("rows"), 4);
  EXPECT_EQ(run.at("curves").at("columns").at("loss").dump(), "[2,null,null,null]");
  EXPECT_FALSE(run.get_bool("finished"));
  ASSERT_EQ(run.at("missing").size(), 1u);
  EXPECT_EQ(run.at("missing").at(size_t{0}).string(),
            "metrics.jsonl: 5 lines are not JSON objects and are left out");
  const Json rollouts = ask("/runs/rollouts", "run=0/a");
  EXPECT_EQ(rollouts.at("rows").size(), 2u);
  EXPECT_EQ(rollouts.get_int("unreadable"), 3);
}

TEST_F(RunsView, LongFilesAreReadByTheirEnd) {
  std::string rows;
  const std::string pad(400, 'x');
  for (int step = 1; step <= 30000; ++step)
    rows += "{\"step\":" + std::to_string(step) + ",\"loss\":" + std::to_string(step) + ",\"pad\":\"" + pad +
            "\"}\n";
  put("a/metrics.jsonl", rows);
  const Json run = ask("/runs/metrics", "run=0/a");
  EXPECT_EQ(run.get_int("step"), 30000);
  const int64_t kept = run.at("curves").get_int("rows");
  EXPECT_GT(kept, 10000);
  EXPECT_LT(kept, 25000);
  EXPECT_LE(run.at("curves").at("columns").at("loss").size(), 500u);
  EXPECT_EQ(run.at("missing").size(), 1u);
  EXPECT_EQ(ask("/runs").at("runs").at(size_t{0}).get_int("step"), 30000);
}

// A row that is longer than what is read at a time is passed over, and the rows before it are reached.
TEST_F(RunsView, ARowLongerThanAPartIsPassedOver) {
  put("a/run.json", "{}");
  put("a/samples.jsonl", sample_row(1, 0, true) + "{\"x\":\"" + std::string((size_t{40} << 20), 'x') +
                             "\"}\n" + sample_row(2, 0, true));
  std::vector<int64_t> steps;
  int64_t unreadable = 0;
  std::string before;
  for (int pages = 0; pages < 10; ++pages) {
    const Json page = ask("/runs/rollouts", "run=0/a" + before);
    for (const Json& row : page.at("rows").items()) steps.push_back(row.get_int("step"));
    unreadable += page.get_int("unreadable");
    if (page.at("older").is_null()) break;
    before = "&before=" + std::to_string(page.get_int("older"));
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(unreadable, 1);
}

TEST_F(RunsView, AnswersAreBounded) {
  std::string rows;
  const std::string text(11000, 'y');
  for (int i = 0; i < 600; ++i)
    rows +=
        Json::object().set("correct", true).set("question", text).set("gold", text).set("text", text).dump() +
        "\n";
  put("a/samples.jsonl", rows);
  put("a/run.json", "{}");
  const Json page = ask("/runs/rollouts", "run=0/a&limit=200");
  EXPECT_LT(page.dump().size(), 2'200'000u);
  EXPECT_GT(page.at("rows").size(), 10u);
  EXPECT_FALSE(page.at("older").is_null());
  // A thousand fields in each of many short rows.
  std::string wide = "{";
  for (int i = 0; i < 2000; ++i) wide += "\"f" + std::to_string(i) + "\":1,";
  wide += "\"step\":1}\n";
  std::string many;
  for (int i = 0; i < 100000; ++i) many += "{\"f1\":1}\n";
  put("b/metrics.jsonl", wide + many);
  const Json run = ask("/runs/metrics", "run=0/b");
  EXPECT_LE(run.at("curves").get_int("rows"), 20000);
  put("c/metrics.jsonl", wide + "{\"step\":2}\n");
  const Json columns = ask("/runs/metrics", "run=0/c");
  EXPECT_EQ(columns.at("curves").at("columns").size(), 512u);
  EXPECT_EQ(columns.at("missing").size(), 1u);
  for (int i = 0; i < 600; ++i) put("many/" + std::to_string(i) + "/run.json", "{}");
  const Json list = ask("/runs");
  EXPECT_LE(list.at("runs").size(), 500u);
  EXPECT_EQ(list.at("missing").size(), 1u);
}

TEST_F(RunsView, TheServerAnswersWithTagsAndErrorsOfItsShape) {
  put("a/metrics.jsonl", "{\"step\":1,\"loss\":2}\n");
  ServerOptions options;
  options.runs = Runs({root});
  TestServer server(options);
  const HttpAnswer first = server.ask("GET", "/runs/metrics?run=0%2Fa");
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.headers.at("content-type"), "application/json");
  const std::string tag = "If-None-Match: " + first.headers.at("etag") + "\r\n";
  {
    Connection connection(server.port());
    connection.send(request_text("GET", "/runs/metrics?run=0%2Fa", "", tag));
    connection.read_until([](const std::string& text) { return text.ends_with("\r\n\r\n"); });
    EXPECT_EQ(connection.take(12), "HTTP/1.1 304");
  }
  std::ofstream(root / "a/metrics.jsonl", std::ios::app) << "{\"step\":2,\"loss\":1}\n";
  const HttpAnswer next = server.ask("GET", "/runs/metrics?run=0%2Fa", "", tag);
  EXPECT_EQ(next.status, 200);
  EXPECT_EQ(next.json().get_int("step"), 2);
  const HttpAnswer none = server.ask("GET", "/runs/metrics?run=0%2Fb");
  EXPECT_EQ(none.status, 404);
  EXPECT_EQ(none.json().at("error").get_string("param"), "run");
  EXPECT_EQ(server.ask("GET", "/runs").json().at("runs").size(), 1u);
  fs::remove_all(root);
  const HttpAnswer gone = server.ask("GET", "/runs");
  EXPECT_EQ(gone.status, 200);
  EXPECT_EQ(gone.json().at("missing").size(), 1u);
  EXPECT_EQ(gone.body.find(root.parent_path().string() + "/"), std::string::npos) << "a path of this machine";
}

}  // namespace
}  // namespace r1::runs_test
