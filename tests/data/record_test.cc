// Rows of data sets are read in the forms in which people have them.
#include "data/record.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "formats/jsonl.h"

namespace r1::record_test {
namespace {

Record record_of(const std::string& json, const RecordMapping& mapping = {}) {
  return read_record(parse_json(json, "f.jsonl:1"), mapping);
}

std::string error_of(const std::string& json, const RecordMapping& mapping = {}) {
  try {
    const Record record = record_of(json, mapping);
    (void)problem_of(record);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Record, ReadsQuestionsAndAnswersInEveryUsualForm) {
  const struct {
    const char *row, *format, *question, *answer, *gold;
  } cases[] = {
      {R"({"question": "Q", "answer": "It is <<1+1=2>>2.\n#### 1,002"})", "GSM8K", "Q",
       "It is <<1+1=2>>2.\n#### 1,002", "1,002"},
      {R"({"problem": "P", "solution": "So $\\boxed{\\frac{1}{2}}$.", "answer": "\\frac{1}{2}", "subject": "A",
           "level": 2, "unique_id": "test/1"})",
       "MATH-500", "P", "So $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"},
      {R"({"id": 60, "problem": "P", "question": "P", "solution": "s", "answer": "204", "url": "x/2024_AIME_I"})",
       "AIME", "P", "s", "204"},
      {R"({"id": 0, "problem": "P", "answer": 27.0, "url": "x/2023_AMC_12A", "question": "P"})", "AMC", "P",
       "27.0", "27.0"},
      {R"({"problem": "P", "solution": "a \\boxed{1} b \\boxed{4.5e33} erg", "type": "t", "idx": 1})",
       "Minerva", "P", "a \\boxed{1} b \\boxed{4.5e33} erg", "4.5e33"},
      {R"({"question": "Q", "answer": "42"})", "question/answer", "Q", "42", "42"},
      {R"({"prompt": "Q", "completion": "So it is 7.\nThus \\boxed{7}"})", "prompt/completion", "Q",
       "So it is 7.\nThus \\boxed{7}", "7"},
      {R"({"prompt": "Q", "completion": "Paris"})", "prompt/completion", "Q", "Paris", "Paris"},
      {R"({"question": "Q", "response": "long", "gold": 7})", "question/response", "Q", "long", "7"},
      {R"({"query": "Q", "output": "a", "ground_truth": ["1/2"]})", "query/output", "Q", "a", "1/2"},
      {R"({"problem": "P", "solution": "S", "final_answer": "3"})", "problem/solution", "P", "S", "3"},
      {R"({"prompt": [{"role": "user", "content": "Q"}], "reward_model": {"ground_truth": "72"}})",
       "prompt of messages", "Q", "", "72"},
      {R"({"instruction": "I", "input": "x", "output": "\\boxed{2}"})", "Alpaca", "I\n\nx", "\\boxed{2}",
       "2"},
      {R"({"instruction": "I", "input": "", "output": "y"})", "Alpaca", "I", "y", "y"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]},
           {"role": "assistant", "reasoning_content": "t", "content": "#### 5"}]})",
       "messages", "Q", "<think>\nt\n</think>\n\n#### 5", "5"},
      {R"({"messages": [{"role": "user", "content": "Q"}], "answer": "9"})", "messages", "Q", "", "9"},
      {R"({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "\\boxed{3}"}]})",
       "ShareGPT", "Q", "\\boxed{3}", "3"},
  };
  for (const auto& c : cases) {
    const Record record = record_of(c.row);
    EXPECT_EQ(record.format, c.format) << c.row;
    EXPECT_EQ(record.question, c.question) << c.row;
    EXPECT_EQ(record.answer, c.answer) << c.row;
    ASSERT_TRUE(record.gold.is_string()) << c.row;
    EXPECT_EQ(record.gold.string(), c.gold) << c.row;
    const Problem problem = problem_of(record);
    EXPECT_EQ(problem.task, "math");
    EXPECT_EQ(problem.question, c.question);
    EXPECT_EQ(problem.gold, Json(c.gold).dump());
  }
}

TEST(Record, ConversationsKeepTheirTurnsAndTools) {
  const Record chat = record_of(
      R"({"system": "S", "tools": "[{\"name\": \"f\"}]", "conversations": [
          {"from": "human", "value": "Q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"},
          {"from": "observation", "value": "2"}, {"from": "gpt", "value": "two"}]})");
  EXPECT_EQ(
      chat.messages.dump(),
      R"([{"role":"system","content":"S"},{"role":"user","content":"Q"},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]},)"
      R"({"role":"tool","content":"2"},{"role":"assistant","content":"two"}])");
  EXPECT_EQ(chat.tools.at(size_t{0}).get_string("name"), "f");
  const Record alpaca = record_of(R"({"instruction": "I", "output": "O", "history": [["a", "b"]]})");
  EXPECT_EQ(alpaca.messages.size(), 4u);
  const Record both = record_of(
      R"({"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]})");
  EXPECT_EQ(both.messages.size(), 2u);
  EXPECT_EQ(both.answer, "A");
}

TEST(Record, ADocumentIsText) {
  const Record record = record_of(R"({"text": "Once upon a time", "meta": {}})");
  EXPECT_EQ(record.format, "text");
  EXPECT_EQ(record.text, "Once upon a time");
  EXPECT_NE(error_of(R"({"text": "Once"})").find("is a plain document"), std::string::npos);
}

TEST(Record, WhatCannotBeAProblemSaysWhy) {
  const struct {
    const char *row, *says;
  } cases[] = {
      {R"([1])", "is no object"},
      {R"({"a": 1, "b": 2})", "is of no known format (its fields are a, b)"},
      {R"({"question": "Q"})", "needs gold or answer"},
      {R"({"problem": "P", "answer": null})", "answer is empty or null: the row has no answer"},
      {R"({"problem": "P", "answer": " "})", "answer is empty or null"},
      {R"({"question": "Q", "answer": true})", "answer is no answer: it must be a string or a number"},
      {R"({"question": 3, "answer": "3"})", "question is"},
      {R"({"prompt": "P", "completion": "long\nand\nwithout a mark"})", "has no final answer"},
      {R"({"question": "Q", "choices": ["a", "b"], "answer": 1})", "choices holds the choices of a question"},
      {R"({"messages": []})", "messages is empty"},
      {R"({"messages": [{"content": "x"}]})", "role"},
      {R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}], "answer": "1"})",
       "has a conversation of several messages"},
      {R"({"conversations": [{"from": "alien", "value": "x"}]})", "it must be human, user, gpt"},
      {R"({"task_id": "HumanEval/0", "prompt": "def f", "canonical_solution": "return", "test": "t"})",
       "is a row of HumanEval, whose answers are programs: this build runs no programs"},
      {R"({"text": "Write", "code": "def f", "test_list": []})", "is a row of MBPP"},
      {R"({"numbers": [3, 5]})", "target"},
  };
  for (const auto& c : cases) {
    const std::string error = error_of(c.row);
    EXPECT_NE(error.find(c.says), std::string::npos) << c.row << " gave: " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(Record, AMappingFindsWhatHasOtherNames) {
  const std::string row = R"({"body": {"ask": "How many?", "opts": ["1", "2"]}, "right": 1, "note": "x"})";
  const RecordMapping mapping(
      "{{ body.ask }}{% for o in body.opts %}{{ '\\n' ~ 'AB'[loop.index0] }}) {{ o }}{% endfor %}",
      "body.opts[right]", "f.toml");
  const Record record = record_of(row, mapping);
  EXPECT_EQ(record.question, "How many?\nA) 1\nB) 2");
  EXPECT_EQ(record.answer, "2");
  EXPECT_EQ(record.gold.string(), "2");
  const Record half =
      record_of(R"({"question": "Q", "deep": {"a": "so \\boxed{4}"}})", {"", "deep.a", "f.toml"});
  EXPECT_EQ(half.question, "Q") << "what is not mapped is found as ever";
  EXPECT_EQ(half.gold.string(), "4");
  EXPECT_NE(error_of(row, {"body.asked", "right", "f.toml"})
                .find("f.jsonl:1: the document has no text where f.toml: data.question looks"),
            std::string::npos)
      << error_of(row, {"body.asked", "right", "f.toml"});
  EXPECT_THROW(RecordMapping("{{ a", "b", "f.toml"), Error);
}

TEST(Record, TheMarkedAnswerIsTheLastOne) {
  EXPECT_EQ(marked_answer("#### 1\n#### 2 \nmore"), "2");
  EXPECT_EQ(marked_answer("\\boxed{1} and \\fbox{\\frac{1}{2}}."), "\\frac{1}{2}");
  EXPECT_EQ(marked_answer("\\framebox{ \\{1,2\\} }"), "\\{1,2\\}");
  EXPECT_EQ(marked_answer("\\boxed{1"), "");
  EXPECT_EQ(marked_answer("nothing"), "");
}

// Every row of the evaluation files that has an answer is a problem.
TEST(Record, PublishedEvaluationsAreReadAsTheyAre) {
  const char* given = std::getenv("R1_TEST_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(given != nullptr ? given : R1_SOURCE_DIR "/../shared/data") / "evals";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "NOT TESTED: no " << folder << " (set R1_TEST_DATA)";
  const struct {
    const char *name, *format;
    int64_t problems, others;
  } files[] = {
      {"gsm8k_train.jsonl", "GSM8K", 7473, 0},
      {"gsm8k_test.jsonl", "GSM8K", 1319, 0},
      {"math500.jsonl", "MATH-500", 500, 0},
      {"aime24.jsonl", "AIME", 30, 0},
      {"amc23.jsonl", "AMC", 40, 0},
      {"minerva_math.jsonl", "Minerva", 272, 0},
      {"math_train_answers.json", "problem/answer", 7470, 4},  // two golds are null, two are empty
      {"HumanEval.jsonl.gz", "", 0, 164},
      {"mbpp.jsonl", "", 0, 974},
  };
  for (const auto& file : files) {
    int64_t problems = 0, others = 0;
    JsonlReader reader(folder / file.name);
    for (JsonlRow row; reader.next(row);) {
      ASSERT_EQ(row.error, "");
      try {
        const Record record = read_record(row.value);
        (void)problem_of(record);
        ASSERT_EQ(record.format, file.format) << row.line;
        ++problems;
      } catch (const Error&) {
        ++others;
      }
    }
    EXPECT_EQ(problems, file.problems) << file.name;
    EXPECT_EQ(others, file.others) << file.name;
  }
}

}  // namespace
}  // namespace r1::record_test
