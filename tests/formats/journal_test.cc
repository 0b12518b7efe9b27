// Finished rows survive the process, however it ends, and rows of different jobs are never mixed.
#include "formats/journal.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/error.h"
#include "base/file.h"

namespace r1::journal_test {
namespace {

namespace fs = std::filesystem;

class JournalTest : public testing::Test {
 protected:
  JournalTest() { fs::create_directories(folder_); }
  ~JournalTest() override { fs::remove_all(folder_); }

  Journal::Job job(bool resume, double temperature = 0.5) const {
    Journal::Job job;
    job.output = folder_ / "out.jsonl";
    job.identity.set("command", "test").set("--temperature", temperature).set("input", std::string(64, 'a'));
    job.slots = 4;
    job.slot_of = [](const Json& row) { return row.get_int("row"); };
    job.resume = resume;
    job.resume_command = "r1 test --resume";
    return job;
  }
  static std::string line(int64_t row) {
    return "{\"row\":" + std::to_string(row) + ",\"text\":\"caf\u00e9\"}";
  }
  fs::path path() const { return folder_ / "out.jsonl.journal"; }

  void put(const std::string& text) const {
    FileWriter out(path());
    out.write(text);
    out.close();
  }
  // Returns the text of a journal with rows 2 and 0.
  std::string two_rows() const {
    {
      Journal journal(job(false));
      journal.append(2, line(2));
      journal.append(0, line(0));
    }
    return read_file(path());
  }
  std::string refusal(const Journal::Job& job) const {
    try {
      Journal journal(job);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }

  fs::path folder_ = fs::temp_directory_path() / ("r1-journal-test-" + std::to_string(::getpid()));
};

TEST_F(JournalTest, RowsOutliveAKilledProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    Journal journal(job(false));
    journal.append(3, line(3));
    journal.append(1, line(1));
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  Journal journal(job(true));
  EXPECT_EQ(journal.finished(), 2);
  EXPECT_TRUE(journal.has(1) && journal.has(3) && !journal.has(0) && !journal.has(2));
  EXPECT_EQ(journal.line(3), line(3));
  EXPECT_EQ(journal.line(1), line(1));
}

// A process may die within any write, so the file is cut at every byte.
TEST_F(JournalTest, CutAtEveryByteOnlyWholeRowsCount) {
  const std::string whole = two_rows();
  const size_t header = whole.find('\n') + 1, first = whole.find('\n', header) + 1;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    put(whole.substr(0, cut));
    const int64_t want = cut == whole.size() ? 2 : cut >= first ? 1 : 0;
    {
      Journal journal(job(true));
      ASSERT_EQ(journal.finished(), want) << cut;
      journal.append(1, line(1));
    }
    Journal journal(job(true));
    ASSERT_EQ(journal.finished(), want + 1) << cut;
    ASSERT_EQ(journal.line(1), line(1)) << cut;
  }
}

// After a loss of power, the end of a file may have any contents.
TEST_F(JournalTest, RowsBehindDamageAreMadeAgain) {
  const std::string whole = two_rows();
  for (const std::string& damage : {std::string(40, '\0') + "\n", std::string("{\"row\":9}\n"),
                                    line(2) + "\n", std::string("{\"rows\":1}\n"), std::string("\n")}) {
    put(whole + damage + line(1) + "\n");
    Journal journal(job(true));
    EXPECT_EQ(journal.finished(), 2) << damage;
    EXPECT_FALSE(journal.has(1)) << damage;
    EXPECT_EQ(read_file(path()), whole) << damage;
  }
}

TEST_F(JournalTest, FinishedRowsAreNotDestroyedInSilence) {
  const std::string whole = two_rows();
  const std::string why = refusal(job(false));
  EXPECT_NE(why.find("r1 test --resume"), std::string::npos) << why;
  EXPECT_EQ(read_file(path()), whole);
}

TEST_F(JournalTest, AnotherJobIsRefusedByWhatDiffers) {
  const std::string whole = two_rows();
  EXPECT_NE(refusal(job(true, 0.7)).find("--temperature 0.5, and this command has 0.7"), std::string::npos)
      << refusal(job(true, 0.7));
  Journal::Job other = job(true);
  other.identity.set("input", std::string(64, 'b'));
  EXPECT_NE(refusal(other).find("other input"), std::string::npos) << refusal(other);
  other = job(true);
  other.identity.set("--seed", 3);
  EXPECT_NE(refusal(other).find("no --seed, and this command has 3"), std::string::npos) << refusal(other);
  other = job(true);
  other.identity = Json::object().set("command", "test").set("input", std::string(64, 'a'));
  EXPECT_NE(refusal(other).find("--temperature 0.5, and this command has none"), std::string::npos)
      << refusal(other);
  EXPECT_EQ(read_file(path()), whole) << "a refusal changed the file";
}

TEST_F(JournalTest, WithoutRowsItIsReplacedAndLeavesNothing) {
  const std::string whole = two_rows();
  put(whole.substr(0, whole.find('\n') + 1));
  EXPECT_EQ(refusal(job(false, 0.7)), "");
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(JournalTest, AForeignFileIsLeftAlone) {
  for (const char* text : {"my diary\n", "{\"row\":1}\n", "x"}) {
    put(text);
    EXPECT_NE(refusal(job(true)).find("not a journal"), std::string::npos) << text;
    EXPECT_NE(refusal(job(false)).find("not a journal"), std::string::npos) << text;
    EXPECT_EQ(read_file(path()), text);
  }
}

TEST_F(JournalTest, OneWriterAtATime) {
  Journal journal(job(false));
  journal.append(0, line(0));
  EXPECT_NE(refusal(job(true)).find("another r1 is writing it"), std::string::npos) << refusal(job(true));
}

TEST_F(JournalTest, ItsHeaderCanBeReadBefore) {
  EXPECT_FALSE(Journal::header_integer(folder_ / "out.jsonl", "begun").has_value());
  Journal::Job dated = job(false);
  dated.identity.set("begun", 12);
  Journal journal(dated);
  EXPECT_EQ(Journal::header_integer(folder_ / "out.jsonl", "begun"), 12);
}

}  // namespace
}  // namespace r1::journal_test
