// Supervised fine-tuning and distillation: the tokens that are trained on, exact repetition, and one clear
// line for bad data.
#include <set>

#include "data/task.h"
#include "formats/jsonl.h"
#include "recipe/sft_data.h"
#include "tests/train/train_test_util.h"

namespace r1::sft_test {
namespace {

class Sft : public RunFolder {
 protected:
  std::filesystem::path sft_config(const std::string& name, const std::string& out, const std::string& data,
                                   const std::string& more = "steps = 6\n") const {
    return write(name, "name = \"t\"\nseed = 5\nmodel = \"" + base() + "\"\nout = \"" +
                           (root / out).string() + "\"\n[data]\n" + data +
                           "[batch]\ntokens = 300\nmicro = 200\n[checkpoint]\nevery = 2\n" +
                           "[optimizer]\nlr = 1e-3\n" + more);
  }
  std::filesystem::path distill_config(const std::string& name, const std::string& out,
                                       const std::string& more = "",
                                       const std::string& rollout = "max_tokens = 100\n",
                                       const std::string& task = "countdown3") const {
    return write(name, "name = \"t\"\nseed = 5\nteacher = \"" + std::string(R1_SOURCE_DIR) +
                           "/models/r1-nano\"\nstudent = \"" + base() + "\"\nkeep = 2\nout = \"" +
                           (root / out).string() + "\"\n[data]\ntask = \"" + task +
                           "\"\nproblems = 12\nepochs = 2\n[rollout]\nsamples = 4\n" + rollout +
                           "[batch]\ntokens = 300\n[optimizer]\nlr = 1e-3\n" + more);
  }
  std::string rows_file() const {
    std::string text;
    for (int i = 0; i < 20; ++i) {
      text += "{\"question\": \"Make " + std::to_string(10 + i) +
              " from 1, 2 and 3.\", \"response\": \"<think>1+2=3 no" + std::to_string(i) +
              "</think><answer>1+2</answer>\"}\n";
    }
    return "files = [\"" + write("rows.jsonl", text).string() + "\"]\n";
  }
  std::string failure(const std::filesystem::path& config, bool distill = false) const {
    ThreadPool threads(1);
    SilentReporter reporter;
    try {
      (distill ? run_distill_config : run_sft_config)(config, {}, threads, reporter, {});
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
};

TEST_F(Sft, LearnsItsRowsAndRepeatsExactly) {
  const std::string data = rows_file();
  ThreadPool one(1), two(2);
  SilentReporter reporter, silent;
  const auto a = run_sft_config(sft_config("a.toml", "a", data + "epochs = 5\n", ""), {}, two, reporter);
  ASSERT_GT(reporter.rows.size(), 3u);
  EXPECT_LT(reporter.rows.back().get_number("loss"), 0.7 * reporter.rows.front().get_number("loss"));
  const auto config = sft_config("b.toml", "b", data + "epochs = 5\n", "");
  run_sft_config(config, {.resume = false, .stop_after_steps = 3}, one, silent);
  const auto b = run_sft_config(config, {.resume = true, .stop_after_steps = 0}, one, silent);
  EXPECT_TRUE(weights_of(a) == weights_of(b));
}

TEST_F(Sft, EpochsTakeEveryRowOnceInAnOrderOfTheirOwn) {
  std::vector<Document> documents;
  for (int32_t i = 0; i < 50; ++i) documents.push_back(document_from({i, i}));
  const DocumentSource source = epochs_of(documents, 3, true);
  std::vector<int32_t> first, second;
  for (int64_t i = 0; i < 50; ++i) first.push_back(source(i).tokens[0]);
  for (int64_t i = 50; i < 100; ++i) second.push_back(source(i).tokens[0]);
  EXPECT_EQ(std::set<int32_t>(first.begin(), first.end()).size(), 50u);
  EXPECT_EQ(std::set<int32_t>(second.begin(), second.end()).size(), 50u);
  EXPECT_NE(first, second);
  EXPECT_EQ(source(0).tokens[0], first[0]);             // returns to an earlier epoch
  EXPECT_EQ(steps_of_epochs(documents, 3, 10, 2), 10);  // 100 documents with one predicted token each
}

TEST_F(Sft, OnlyTheLastAnswerCounts) {
  const ModelBundle bundle = ModelBundle::load(base());
  const auto file = write(
      "chat.jsonl",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Make 6 from 1, 2, 3.\"}, {\"role\": "
      "\"assistant\", "
      "\"content\": \"<think>t</think>1+2+3\"}, {\"role\": \"user\", \"content\": \"Again!\"}, {\"role\": "
      "\"assistant\", \"content\": \"<think>1*2*3=6 yes</think><answer>1*2*3</answer>\"}]}\n");
  const auto documents = read_sft_documents(
      DataFiles{.files = {file.string()}, .selection = {.deduplicate = false}}, bundle, LossOn::answer, 500);
  ASSERT_EQ(documents.size(), 1u);
  const Document& d = documents[0];
  const auto scored = std::span(d.tokens).subspan(static_cast<size_t>(d.prompt_size()));
  EXPECT_EQ(bundle.tokenizer.decode(scored.first(scored.size() - 1)),
            "<think>1*2*3=6 yes</think><answer>1*2*3</answer>");
  EXPECT_EQ(scored.back(), bundle.stop_tokens.front());
  EXPECT_EQ(read_sft_documents(DataFiles{.files = {file.string()}, .selection = {.deduplicate = false}},
                               bundle, LossOn::all, 500)[0]
                .prompt_size(),
            1);
}

TEST_F(Sft, BadDataIsOneClearLine) {
  const std::string rows = rows_file();
  const auto file = [&](const std::string& text) {
    return "files = [\"" + write("bad.jsonl", text).string() + "\"]\n";
  };
  EXPECT_NE(failure(sft_config("a.toml", "a", file(""))).find("bad.jsonl: holds no row to train on"),
            std::string::npos);
  EXPECT_NE(failure(sft_config("a.toml", "a", file("\n{\"question\": 3}\n"))).find("bad.jsonl:2: "),
            std::string::npos);
  EXPECT_NE(
      failure(sft_config("a.toml", "a", file("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n")))
          .find("does not end with an assistant's message"),
      std::string::npos);
  EXPECT_NE(failure(sft_config("a.toml", "a", rows + "max_tokens = 10\n")).find("data.max_tokens is 10"),
            std::string::npos);
  EXPECT_NE(failure(sft_config("a.toml", "a", rows + "epochs = 1\n")).find("one of the two"),
            std::string::npos);
  EXPECT_NE(failure(sft_config("a.toml", "a", "", "steps = 1\n")).find("data.files is missing"),
            std::string::npos);
  EXPECT_NE(
      failure(sft_config("a.toml", "a", rows, "steps = 1\nstep = 1\n")).find("did you mean optimizer.steps?"),
      std::string::npos);
}

TEST_F(Sft, DistillationKeepsVerifiedAnswersAndRepeatsExactly) {
  ThreadPool one(1), two(2);
  SilentReporter reporter, silent;
  const auto a = run_distill_config(
      distill_config("a.toml", "a", "[filter]\nrepeats = false\nprefer = \"shortest\"\n"), {}, two, reporter);
  const auto b = run_distill_config(
      distill_config("b.toml", "b", "[filter]\nrepeats = false\nprefer = \"shortest\"\n"), {}, one, silent);
  EXPECT_TRUE(weights_of(a) == weights_of(b));
  const std::vector<Json> rows = read_jsonl(root / "a" / "data.jsonl");
  const Json summary = read_json(root / "a" / "teacher.json");
  EXPECT_EQ(summary.get_int("kept"), static_cast<int64_t>(rows.size()));
  EXPECT_EQ(summary.get_int("samples"), 48);
  EXPECT_GE(summary.get_int("correct"), summary.get_int("kept"));
  std::map<int64_t, int> a_problem;
  for (const Json& row : rows) {
    EXPECT_LE(++a_problem[row.get_int("problem")], 2);
    EXPECT_NE(row.get_string("response").find("</answer>"), std::string::npos);
  }
  SilentReporter again;
  run_distill_config(distill_config("a.toml", "a", "[filter]\nrepeats = false\nprefer = \"shortest\"\n"),
                     {.resume = true, .stop_after_steps = 0}, two, again);
  ASSERT_EQ(again.notes.size(), 2u);
  EXPECT_NE(again.notes[0].find("data.jsonl is there already"), std::string::npos);
}

TEST_F(Sft, ADistillationOnAFileOfATasksProblemsKeepsTheSameAnswers) {
  ThreadPool threads(2);
  SilentReporter reporter, silent;
  const auto a = run_distill_config(distill_config("a.toml", "a", ""), {}, threads, silent);
  const Json summary = read_json(root / "a" / "teacher.json");
  std::string rows;
  for (int64_t i = 0; i < summary.get_int("problems"); ++i) {
    const Problem problem =
        make_problem(summary.get_string("task"), 5, static_cast<uint64_t>(i), Split::train);
    rows += parse_json(problem.gold, "gold").set("question", problem.question).dump() + "\n";
  }
  write("problems.jsonl", rows + "{\"question\": \"no answer\"}\n");
  std::string text = read_file(distill_config("b.toml", "b", ""));
  const size_t at = text.find("task = "), end = text.find('\n', at);
  text.replace(at, end - at, "files = [\"problems.jsonl\"]\nshuffle = false\ndeduplicate = false");
  const auto b = run_distill_config(write("b.toml", text), {}, threads, reporter);
  EXPECT_TRUE(weights_of(a) == weights_of(b));
  const auto said = [&](const std::string& words) {
    return std::ranges::any_of(
        reporter.notes, [&](const std::string& line) { return line.find(words) != std::string::npos; });
  };
  EXPECT_TRUE(said("1 of 13 rows cannot be used and are left out; the first: ")) << "a dropped row is named";
}

TEST_F(Sft, AQuantisedTeacherTeachesAndRepeatsExactly) {
  ThreadPool one(1), two(2);
  SilentReporter reporter, silent;
  const std::string quantised = "max_tokens = 100\nnumerics = \"cpu-q8act\"\nquantize = \"Q8_0\"\n";
  const auto a = run_distill_config(distill_config("a.toml", "a", "", quantised), {}, two, reporter);
  const auto b = run_distill_config(distill_config("b.toml", "b", "", quantised), {}, one, silent);
  EXPECT_TRUE(weights_of(a) == weights_of(b));
  const Json summary = read_json(root / "a" / "teacher.json");
  EXPECT_EQ(summary.get_string("numerics"), "cpu-q8act");
  EXPECT_GT(summary.get_int("kept"), 0);
  EXPECT_EQ(read_file(root / "a" / "data.jsonl"), read_file(root / "b" / "data.jsonl"));
  run_distill_config(distill_config("c.toml", "c"), {}, two, silent);
  EXPECT_NE(read_file(root / "a" / "data.jsonl"), read_file(root / "c" / "data.jsonl"))
      << "the blocks have other values than the weights they were made of";
}

TEST_F(Sft, WhatATeacherCannotComputeInIsOneClearLine) {
  const auto refused = [&](const std::string& rollout) {
    return failure(distill_config("a.toml", "a", "", "max_tokens = 100\n" + rollout), true);
  };
  EXPECT_NE(refused("quantize = \"Q9\"\n").find("rollout.quantize"), std::string::npos);
  EXPECT_NE(refused("numerics = \"cuda-bf16\"\n").find("rollout.numerics is refused"), std::string::npos);
  EXPECT_NE(refused("numerics = \"q8\"\n").find("rollout.numerics is \"q8\""), std::string::npos);
}

TEST_F(Sft, ATeacherWithNothingToTeachIsOneClearLine) {
  EXPECT_NE(failure(distill_config("a.toml", "a", "", "max_tokens = 1\n"), true)
                .find("it solved none of 12 problems of countdown3"),
            std::string::npos);
  EXPECT_NE(failure(distill_config("b.toml", "b", "[filter]\nmax_tokens = 2\n"), true)
                .find("is left after [filter]"),
            std::string::npos);
  EXPECT_NE(
      failure(distill_config("c.toml", "c", "", "max_tokens = 9\n", "countdwn3"), true).find("countdown3"),
      std::string::npos);
}

}  // namespace
}  // namespace r1::sft_test
