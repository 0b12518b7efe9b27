// An output appears only when it is complete, and finished rows survive however the program ends.
#include <gtest/gtest.h>

#include <csignal>
#include <functional>

#include "tests/cli/cli_test_util.h"

namespace r1::resume_test {
namespace {

namespace fs = std::filesystem;
using test::r1_run;
using test::scratch;
using test::write;

std::string path_of(const std::string& name) {
  return (scratch() / name).string();
}

// Runs r1 in a process whose files may grow to `blocks` x 512 bytes. The write that exceeds the limit ends
// the process in the middle of a row (`at_limit` is ""), or fails as on a full disk ("trap '' XFSZ;").
test::Result run_limited(int64_t blocks, const std::string& at_limit,
                         const std::vector<std::string>& arguments) {
  std::vector<std::string> words{
      "/bin/sh", "-c", at_limit + "ulimit -c 0; ulimit -f " + std::to_string(blocks) + "; exec \"$@\"", "sh"};
  for (const std::string& word : test::r1_words(arguments)) words.push_back(word);
  return test::finish(test::start(words, ""));
}

// A job whose output is the argument after `flag`.
struct LongJob {
  std::vector<std::string> words;
  std::string flag;
  std::vector<std::string> with_output(const std::string& path, bool resume = false) const {
    std::vector<std::string> out = words;
    out.insert(out.end(), {flag, path});
    if (resume) out.push_back("--resume");
    return out;
  }
};

LongJob generate_job() {
  std::string rows;
  for (int i = 0; i < 12; ++i) {
    rows += "{\"tokens\":[0," + std::to_string(70 + i) + "],\"id\":" + std::to_string(i) +
            ".50,\"samples\":" + std::to_string(1 + i % 4) + "}\n";
    if (i == 5) rows += "{\"prompt\":7}\n";
  }
  return {{"generate", test::tiny_llama(), "--input", write("long.jsonl", rows), "--max-tokens", "25",
           "--ignore-eos", "--batch", "3", "--logprobs", "--temperature", "2"},
          "--output"};
}

LongJob score_job() {
  std::string rows;
  for (int i = 0; i < 200; ++i) {
    rows += "{\"tokens\":[0";
    for (int t = 0; t < 120; ++t) rows += "," + std::to_string(60 + (t * (i + 3)) % 90);
    rows += "]}\n";
    if (i == 90) rows += "{\"tokens\":[5]}\n{\"tokens\":[]}\n";
  }
  return {{"score", test::tiny_llama(), "--input", write("score-long.jsonl", rows)}, "--logprobs"};
}

LongJob eval_job() {
  return {{"eval", test::tiny_llama(), "--task", "countdown3", "--problems", "9", "--samples", "3",
           "--max-tokens", "20", "--batch", "4", "--ignore-eos"},
          "--output"};
}

// Kills the job again and again, each time some bytes later, until it can end.
void expect_same_bytes_after_kills(const LongJob& job, const std::string& name, int64_t first_limit,
                                   int64_t step) {
  const std::string whole = path_of(name + "-whole.jsonl"), cut = path_of(name + "-cut.jsonl");
  const auto want = r1_run(job.with_output(whole));
  ASSERT_TRUE(want.status == 0 || want.status == 2) << want.err;
  ASSERT_FALSE(fs::exists(whole + ".journal"));
  write_file_atomically(cut, "an older result\n");
  int kills = 0;
  for (int64_t limit = first_limit;; limit += step) {
    const auto result = run_limited(limit, "", job.with_output(cut, true));
    if (result.status < 128) {
      EXPECT_EQ(result.status, want.status) << result.err;
      break;
    }
    ++kills;
    EXPECT_EQ(read_file(cut), "an older result\n") << "kill " << kills;
    ASSERT_TRUE(fs::exists(cut + ".journal"));
    ASSERT_LT(kills, 1000);
  }
  EXPECT_GE(kills, 3) << "the job is too small for this test";
  EXPECT_EQ(read_file(cut), read_file(whole));
  EXPECT_FALSE(fs::exists(cut + ".journal"));
  EXPECT_FALSE(fs::exists(cut + ".r1-tmp"));
}

TEST(CliResume, GenerateKilledInsideRowsEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(generate_job(), "generate", 3, 5);
}
TEST(CliResume, ScoreKilledInsideRowsEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(score_job(), "score", 200, 300);
}
TEST(CliResume, EvalKilledInsideRowsEndsWithTheSameBytes) {
  expect_same_bytes_after_kills(eval_job(), "eval", 3, 4);
}

TEST(CliResume, AnotherTypeOfKeysIsAnotherJob) {
  const std::string path = path_of("kv-types.jsonl");
  const auto with = [&](const char* type, bool resume) {
    std::vector<std::string> words = generate_job().with_output(path, resume);
    words.insert(words.end(), {"--kv-type", type});
    return words;
  };
  ASSERT_GE(run_limited(8, "", with("bf16", false)).status, 128);
  const auto other = r1_run(with("q8", true));
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("cpu-f32/kv-bf16"), std::string::npos) << other.err;
  EXPECT_EQ(r1_run(with("bf16", true)).status, 2) << "one row is bad; the others are finished";
  EXPECT_TRUE(fs::exists(path));
}

TEST(CliResume, EvalCountsTheSamplesThatWereFinishedBefore) {
  LongJob job = eval_job();
  job.words.push_back("--json");
  const auto want = r1_run(job.with_output(path_of("eval-figures.jsonl")));
  const std::string cut = path_of("eval-figures-cut.jsonl");
  ASSERT_GE(run_limited(8, "", job.with_output(cut)).status, 128);
  const auto got = r1_run(job.with_output(cut, true));
  ASSERT_EQ(got.status, 0) << got.err;
  Json a = parse_json(want.out, "want"), b = parse_json(got.out, "got");
  for (Json* figures : {&a, &b}) figures->set("seconds", 0).set("tokens_per_s", 0);
  EXPECT_EQ(b.dump(), a.dump());
}

TEST(CliResume, CtrlCSaysHowToGoOnAndLosesNothing) {
  // There are far more samples than can be finished before the signal, which is sent once the journal has a
  // finished one.
  const std::string output = path_of("interrupted.jsonl");
  for (const auto& [signal, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    fs::remove(output + ".journal");
    const auto started =
        test::start(test::r1_words({"generate", test::tiny_llama(), "--input",
                                    write("forever.jsonl", "{\"tokens\":[0,70]}\n"), "--output", output,
                                    "--samples", "60000", "--max-tokens", "200", "--ignore-eos"}),
                    "interrupt-");
    const auto lines = [&] {
      const std::string text = fs::exists(output + ".journal") ? read_file(output + ".journal") : "";
      return std::count(text.begin(), text.end(), '\n');
    };
    while (lines() < 3) {
      ASSERT_EQ(::waitpid(started.pid, nullptr, WNOHANG), 0)
          << "it ended by itself: " << read_file(started.err);
      ::usleep(1000);
    }
    ::kill(started.pid, signal);
    const auto result = test::finish(started);
    EXPECT_EQ(result.status, status);
    EXPECT_TRUE(result.err.starts_with("r1: interrupted: ")) << result.err;
    EXPECT_NE(result.err.find(" of 60000 samples are finished. To go on: "), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("--output " + output), std::string::npos) << result.err;
    EXPECT_TRUE(result.err.ends_with(" --resume\n")) << result.err;
    EXPECT_FALSE(fs::exists(output));
    EXPECT_GE(lines(), 3);
  }
}

TEST(CliResume, AFullDiskKeepsTheFinishedRowsAndTheOldOutput) {
  const LongJob job = generate_job();
  const std::string whole = path_of("disk-whole.jsonl"), output = path_of("disk.jsonl");
  ASSERT_EQ(r1_run(job.with_output(whole)).status, 2);
  write_file_atomically(output, "an older result\n");
  const auto full = run_limited(9, "trap '' XFSZ; ", job.with_output(output));
  EXPECT_ONE_LINE_ERROR(full, "disk.jsonl.journal");
  EXPECT_NE(full.err.find("rows are finished and safe in"), std::string::npos) << full.err;
  EXPECT_TRUE(full.err.ends_with(" --resume\n")) << full.err;
  EXPECT_EQ(read_file(output), "an older result\n");
  ASSERT_EQ(r1_run(job.with_output(output, true)).status, 2) << "one row is bad";
  EXPECT_EQ(read_file(output), read_file(whole));
}

TEST(CliResume, AnInterruptedJobIsNotDestroyedInSilence) {
  const LongJob job = generate_job();
  const std::string output = path_of("kept.jsonl");
  ASSERT_GE(run_limited(9, "", job.with_output(output)).status, 128);
  const std::string journal = read_file(output + ".journal");
  EXPECT_ONE_LINE_ERROR(r1_run(job.with_output(output)), "To go on: ");
  LongJob other = job;
  other.words.insert(other.words.end(), {"--seed", "3"});
  EXPECT_ONE_LINE_ERROR(r1_run(other.with_output(output, true)),
                        "was begun with --seed 0, and this command has 3");
  // Every sampling flag is part of the job.
  for (const char* flag : {"--top-p", "--min-p", "--top-k", "--repetition-penalty", "--presence-penalty",
                           "--frequency-penalty"}) {
    other = job;
    other.words.insert(other.words.end(), {flag, "1"});
    EXPECT_ONE_LINE_ERROR(r1_run(other.with_output(output, true)),
                          std::string("was begun with no ") + flag + ", and this command has 1");
  }
  other = job;
  other.words[3] = write("other.jsonl", "{\"tokens\":[0,71]}\n");
  EXPECT_ONE_LINE_ERROR(r1_run(other.with_output(output, true)), "was begun with other input");
  other = job;
  other.words[1] = test::tiny_qwen3();
  EXPECT_ONE_LINE_ERROR(r1_run(other.with_output(output, true)), "was begun with other model weights");
  EXPECT_EQ(read_file(output + ".journal").substr(0, journal.size()), journal)
      << "a refusal changed the journal";
  LongJob wider = job;  // these options change no bit, so they may differ
  wider.words.insert(wider.words.end(), {"--prefill-chunk", "1", "--threads", "2"});
  EXPECT_EQ(r1_run(wider.with_output(output, true)).status, 2) << "one row is bad";
}

TEST(CliResume, WithoutAJournalItBeginsAndSaysSo) {
  const LongJob job = generate_job();
  const std::string output = path_of("fresh.jsonl"), plain = path_of("plain.jsonl");
  const auto result = r1_run(job.with_output(output, true));
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("begins at the first row"), std::string::npos) << result.err;
  ASSERT_EQ(r1_run(job.with_output(plain)).status, 2);
  EXPECT_EQ(read_file(output), read_file(plain));
}

// The output is checked before anything is loaded: the model does not even exist.
TEST(CliOutput, WhatCannotBeWrittenIsRefusedFirst) {
  const std::string input = write("in.jsonl", "{\"tokens\":[0,70]}\n");
  const std::string folder = path_of("folder");
  fs::create_directories(folder);
  fs::create_symlink(input, path_of("link-to-input"));
  const auto with = [&](const std::string& command, const std::string& flag, const std::string& output) {
    std::vector<std::string> words{command, "no-such-model", command == "eval" ? "--task" : "--input", input,
                                   flag,    output};
    return r1_run(words);
  };
  const std::vector<std::pair<std::string, std::string>> outputs{{"generate", "--output"},
                                                                 {"score", "--output"},
                                                                 {"score", "--logprobs"},
                                                                 {"score", "--gradients"},
                                                                 {"eval", "--output"}};
  for (const auto& [command, flag] : outputs) {
    EXPECT_ONE_LINE_ERROR(with(command, flag, folder), "is a folder");
    EXPECT_ONE_LINE_ERROR(with(command, flag, path_of("no/such/out")), "does not exist");
    EXPECT_ONE_LINE_ERROR(with(command, flag, input), "is named twice");
    EXPECT_ONE_LINE_ERROR(with(command, flag, path_of("link-to-input")), "is named twice");
    EXPECT_ONE_LINE_ERROR(with(command, flag, ""), "");
  }
  EXPECT_EQ(read_file(input), "{\"tokens\":[0,70]}\n");
  EXPECT_ONE_LINE_ERROR(r1_run({"score", "no-such-model", "--input", input, "--output", path_of("same"),
                                "--gradients", path_of("same")}),
                        "is named twice");
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", "no-such-model", "--input", input, "--output", "-", "--resume"}),
                        "--resume needs an output file");
  EXPECT_ONE_LINE_ERROR(r1_run({"eval", "no-such-model", "--task", "countdown3", "--resume"}), "--output");
  EXPECT_ONE_LINE_ERROR(
      r1_run({"score", "no-such-model", "--input", input, "--output", path_of("x"), "--resume"}),
      "--logprobs");
}

// A job that fails keeps the result of the previous one.
TEST(CliOutput, AFailedCommandLeavesTheOldOutput) {
  const std::string output = path_of("old.out");
  const std::string input = write("lone.jsonl", "{\"tokens\":[5]}\n");
  const auto unharmed = [&](const std::vector<std::string>& words) {
    write_file_atomically(output, "an older result\n");
    EXPECT_EQ(r1_run(words).status, 2);
    EXPECT_EQ(read_file(output), "an older result\n");
    EXPECT_FALSE(fs::exists(output + ".journal"));
    EXPECT_FALSE(fs::exists(output + ".r1-tmp"));
  };
  const std::string model = test::tiny_llama();
  unharmed({"score", model, "--input", input, "--gradients", output});  // the rows have no scored tokens
  unharmed({"score", model, "--input", path_of("gone"), "--output", output});
  unharmed({"generate", "no-such-model", "--input", input, "--output", output});
  unharmed({"generate", model, "--input", path_of("gone"), "--output", output});
  unharmed({"generate", model, "--input", input, "--output", output, "--memory-limit", "1M"});
  unharmed({"eval", model, "--task", "countdwn", "--output", output});
}

TEST(CliOutput, DevicesAndPipesGetRowsInOrder) {
  const std::string input =
      write("two.jsonl", "{\"tokens\":[0,70],\"max_tokens\":9}\n{\"tokens\":[0,71],\"max_tokens\":1}\n");
  const std::string model = test::tiny_llama();
  const auto piped = r1_run({"generate", model, "--input", input, "--output", "-"});
  const auto file = path_of("in-order.jsonl");
  ASSERT_EQ(r1_run({"generate", model, "--input", input, "--output", file}).status, 0);
  EXPECT_EQ(read_file(file), piped.out);
  EXPECT_EQ(r1_run({"generate", model, "--input", input, "--output", "/dev/null"}).status, 0);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_FALSE(fs::exists("/dev/null.journal"));
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", model, "--input", input, "--output", "/dev/full"}), "/dev/full");
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", model, "--input", input, "--output", "-"}, "", "/dev/full"),
                        "standard output");
  EXPECT_ONE_LINE_ERROR(r1_run({"generate", model, "--input", input, "--output", "-"}, "", test::kClosed),
                        "standard output");
  const auto passed = r1_run({"generate", model, "--input", input, "--output", "/dev/stdout"});
  EXPECT_EQ(passed.out, piped.out);
}

}  // namespace
}  // namespace r1::resume_test
