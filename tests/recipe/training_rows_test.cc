// Every format of published data sets becomes a document to learn, and a row that is left out is counted and
// named.
#include "recipe/sft_data.h"
#include "tests/train/train_test_util.h"

namespace r1::training_rows_test {
namespace {

class TrainingRows : public RunFolder {
 protected:
  struct Learnt {
    std::vector<std::string> prompts, answers, notes;
  };
  Learnt learn(const DataFiles& data, int64_t max_tokens = 400) const {
    Learnt out;
    const std::vector<Document> documents = read_sft_documents(
        data, nano_, LossOn::answer, max_tokens, [&](const std::string& line) { out.notes.push_back(line); });
    for (const Document& d : documents) {
      const auto split = static_cast<size_t>(d.prompt_size());
      const std::span<const int32_t> tokens = d.tokens;
      out.prompts.push_back(nano_.tokenizer.decode(tokens.first(split)));
      out.answers.push_back(nano_.tokenizer.decode(tokens.subspan(split, tokens.size() - split - 1)));
    }
    return out;
  }
  Learnt learn(const std::string& rows, int64_t max_tokens = 400) const {
    return learn(DataFiles{.files = {write("rows.jsonl", rows).string()}}, max_tokens);
  }
  std::string file() const { return (root / "rows.jsonl").string(); }
  static std::string asked(const std::string& question) {
    return "<｜begin▁of▁sentence｜><｜User｜>" + question + "<｜Assistant｜>";
  }
  template <class Action>
  static std::string error_of(const Action& action) {
    try {
      action();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  ModelBundle nano_ = ModelBundle::load(base());
};

TEST_F(TrainingRows, EveryFormatGivesTheQuestionAndTheAnswerToLearn) {
  struct Case {
    const char *format, *row, *question, *answer;
  };
  const Case cases[] = {
      {"question/response", R"({"question": "Q", "response": "A"})", "Q", "A"},
      {"GSM8K", R"({"question": "Q", "answer": "1+1=2\n#### 2"})", "Q", "1+1=2\n#### 2"},
      {"prompt/completion", R"({"prompt": "Q", "completion": "A"})", "Q", "A"},
      {"problem/solution", R"({"problem": "Q", "solution": "so \\boxed{2}", "answer": "2"})", "Q",
       "so \\boxed{2}"},
      {"question/answer", R"({"id": 1, "question": "Q", "answer": 27.0})", "Q", "27.0"},
      {"Alpaca", R"({"instruction": "Add", "input": "1, 2", "output": "3"})", "Add\n\n1, 2", "3"},
      {"Alpaca", R"({"instruction": "Add", "input": "", "output": "3"})", "Add", "3"},
      {"ShareGPT", R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]})",
       "Q", "A"},
      {"messages", R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]},
          {"role": "assistant", "content": "A"}]})",
       "Q", "A"},
      {"prompt of messages", R"({"prompt": [{"role": "user", "content": "Q"}],
          "completion": [{"role": "assistant", "content": "A"}]})",
       "Q", "A"},
      {"HumanEval",
       R"({"prompt": "def f():", "canonical_solution": " return 1", "test": "t", "entry_point": "f"})",
       "def f():", " return 1"},
      {"MBPP", R"({"text": "Write f", "code": "def f(): pass", "test_list": []})", "Write f",
       "def f(): pass"},
      {"question/response", R"({"task": "summarise", "question": "Q", "response": "A"})", "Q", "A"},
  };
  for (const Case& c : cases) {
    std::string row = c.row;
    std::erase(row, '\n');
    const Learnt learnt = learn(row + "\n");
    ASSERT_EQ(learnt.answers.size(), 1u) << c.row;
    EXPECT_EQ(learnt.prompts[0], asked(c.question)) << c.row;
    EXPECT_EQ(learnt.answers[0], c.answer) << c.row;
    EXPECT_EQ(learnt.notes[0], file() + ": 1 of 1 rows are used (" + c.format + ")");
  }
}

TEST_F(TrainingRows, AThoughtInAFieldOfItsOwnIsLearnt) {
  const Learnt learnt = learn(
      R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "reasoning_content": "hm", "content": "A"}]})"
      "\n");
  EXPECT_EQ(learnt.answers, std::vector<std::string>{"<think>\nhm\n</think>\n\nA"});
}

TEST_F(TrainingRows, JinjaReadsAnyOtherFormat) {
  const auto path = write("rows.jsonl", R"({"info": {"ask": "Q"}, "steps": ["1", "2"]})"
                                        "\n");
  DataFiles data{.files = {path.string()}};
  data.mapping = RecordMapping("info.ask ~ '?'", "{% for s in steps %}({{ s }}){% endfor %}", "c.toml");
  const Learnt learnt = learn(data);
  EXPECT_EQ(learnt.prompts[0], asked("Q?"));
  EXPECT_EQ(learnt.answers[0], "(1)(2)");
}

TEST_F(TrainingRows, ARowThatIsLeftOutIsCountedAndNamed) {
  const std::string good = R"({"question": "Q", "response": "A"})"
                           "\n";
  std::string longer = R"({"question": "L", "response": ")";
  for (int i = 0; i < 500; ++i) longer += "7 ";
  const Learnt learnt =
      learn("{\"question\": \"Q\"\n" + good + "{\"unknown\": 1}\n" + longer + "\"}\n" + good +
            R"({"question": "P", "response": "B"})"
            "\n");
  EXPECT_EQ(learnt.answers, (std::vector<std::string>{"A", "B"}));
  ASSERT_EQ(learnt.notes.size(), 3u);
  EXPECT_EQ(learnt.notes[0], file() + ": 2 of 6 rows are used (question/response); 1 repeat an earlier row");
  EXPECT_TRUE(learnt.notes[1].starts_with(
      "2 of 6 rows cannot be used and are left out; the first: " + file() + ":1: "))
      << learnt.notes[1];
  EXPECT_TRUE(learnt.notes[2].starts_with(
      "1 of 6 rows are longer than data.max_tokens = 400 and are left out; the first: " + file() +
      ":4: has "))
      << learnt.notes[2];
}

TEST_F(TrainingRows, AFileWithoutAUsableRowIsAnError) {
  EXPECT_EQ(error_of([&] { learn("\n"); }), file() + ": holds no row to train on");
  const std::string first =
      error_of([&] { learn("{\"text\": \"only text\"}\n{\"text\": \"more text\"}\n"); });
  EXPECT_TRUE(first.starts_with(file() + ":1: is a plain document")) << first;
  EXPECT_TRUE(first.ends_with("(and no other row of the file can be used)")) << first;
  DataFiles data{.files = {write("rows.jsonl", R"({"question": "Q", "response": "A"})"
                                               "\n")
                               .string()}};
  data.selection.side = RowSelection::Side::held_out;
  data.selection.held_out = 0;
  EXPECT_NE(error_of([&] { learn(data); }).find("1 are on the other side of data.split"), std::string::npos);
}

TEST_F(TrainingRows, OfTwoColumnsWithTheSameTextOneIsUsed) {
  const Learnt learnt = learn(R"({"problem": "Q", "question": "Q", "answer": "5", "url": "x"})"
                              "\n");
  EXPECT_EQ(learnt.notes[1], file() + ": columns problem, url are not used");
}

TEST_F(TrainingRows, TheLimitCountsUsedRowsOfAllFiles) {
  const auto row = [](const char* q) {
    return std::string(R"({"question": ")") + q +
           R"(", "response": "A"})"
           "\n";
  };
  DataFiles data{.files = {write("a.jsonl", "{}\n" + row("1") + row("1") + row("2")).string(),
                           write("b.jsonl", row("3") + row("4")).string()}};
  data.selection.limit = 3;
  const Learnt learnt = learn(data);
  EXPECT_EQ(learnt.prompts, (std::vector<std::string>{asked("1"), asked("2"), asked("3")}));
}

TEST_F(TrainingRows, WithoutShuffleEveryEpochTakesTheFilesOrder) {
  std::vector<Document> documents;
  for (int32_t i = 0; i < 9; ++i) documents.push_back(document_from({i, i}));
  const DocumentSource source = epochs_of(documents, 3, false);
  for (int64_t i = 0; i < 27; ++i) EXPECT_EQ(source(i).tokens[0], i % 9);
}

TEST_F(TrainingRows, SftTrainsOnGoodRowsOfAFileWithBadOnes) {
  std::string rows = "not JSON\n";
  for (int i = 0; i < 5; ++i)
    rows += "{\"instruction\": \"Say " + std::to_string(i) + "\", \"input\": \"\", \"output\": \"ok\"}\n";
  const auto config =
      write("c.toml", "name = \"t\"\nmodel = \"" + base() + "\"\nout = \"" + (root / "out").string() +
                          "\"\n[data]\nfiles = [\"" + write("rows.jsonl", rows).string() +
                          "\"]\n[batch]\ntokens = 50\n[optimizer]\nlr = 1e-4\nsteps = 1\n");
  ThreadPool threads(1);
  SilentReporter reporter;
  run_sft_config(config, {}, threads, reporter);
  EXPECT_EQ(reporter.rows.size(), 1u);
  EXPECT_TRUE(std::ranges::any_of(reporter.notes, [&](const std::string& n) {
    return n.starts_with("1 of 6 rows cannot be used and are left out; the first: " + file() + ":1: ");
  }));
}

}  // namespace
}  // namespace r1::training_rows_test
