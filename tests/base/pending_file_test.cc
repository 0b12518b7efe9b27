// Files that appear whole or not at all, and files that only one process at a time may write.
#include "base/pending_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/locked_file.h"

namespace r1::pending_file_test {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() { fs::create_directories(folder_); }
  ~Files() override { fs::remove_all(folder_); }
  fs::path at(const std::string& name) const { return folder_ / name; }
  fs::path put(const std::string& name, const std::string& text) const {
    FileWriter out(at(name));
    out.write(text);
    out.close();
    return at(name);
  }
  static void replace(const fs::path& target, const std::string& text, bool commit) {
    PendingFile pending(target);
    FileWriter out(pending.path());
    out.write(text);
    out.close();
    if (commit) pending.commit();
  }
  int64_t count() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }
  // Returns the message of check_replaceable.
  static std::string refusal(const fs::path& target) {
    try {
      check_replaceable(target);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  fs::path folder_ = fs::temp_directory_path() / ("r1-files-test-" + std::to_string(::getpid()));
};

using PendingFiles = Files;
using LockedFiles = Files;

TEST_F(PendingFiles, TargetIsUntouchedUntilCommit) {
  const fs::path target = put("out", "old");
  {
    PendingFile pending(target);
    FileWriter out(pending.path());
    out.write("new");
    out.close();
    EXPECT_EQ(read_file(target), "old");
    pending.commit();
  }
  EXPECT_EQ(read_file(target), "new");
  EXPECT_EQ(count(), 1) << "a temporary file is left";
}

TEST_F(PendingFiles, WithoutCommitNothingChangesAndNothingStays) {
  replace(put("out", "old"), "new", false);
  EXPECT_EQ(read_file(at("out")), "old");
  replace(at("other"), "new", false);
  EXPECT_FALSE(fs::exists(at("other")));
  EXPECT_EQ(count(), 1) << "a temporary file is left";
}

TEST_F(PendingFiles, LinksAndPermissionsStay) {
  const fs::path target = put("private", "old");
  ASSERT_EQ(::chmod(target.c_str(), 0600), 0);
  fs::create_symlink("private", at("link"));
  replace(at("link"), "new", true);
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(read_file(target), "new");
  EXPECT_EQ(fs::status(target).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(PendingFiles, DevicesAreWrittenInPlace) {
  replace("/dev/null", "text", true);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_FALSE(fs::exists("/dev/null.r1-tmp"));
}

TEST_F(PendingFiles, WhatCannotBeReplacedIsRefusedAtOnce) {
  EXPECT_EQ(refusal(at("new")), "");
  EXPECT_EQ(refusal(put("file", "")), "");
  EXPECT_NE(refusal(folder_).find("is a folder"), std::string::npos) << refusal(folder_);
  EXPECT_NE(refusal(folder_.string() + "/").find("is a folder"), std::string::npos);
  EXPECT_NE(refusal(at("no/such")).find("does not exist"), std::string::npos) << refusal(at("no/such"));
  EXPECT_NE(refusal(at("file/under")).find("is not a folder"), std::string::npos)
      << refusal(at("file/under"));
  EXPECT_NE(refusal("").find("empty"), std::string::npos);
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ASSERT_EQ(::chmod(at("file").c_str(), 0400), 0);
  EXPECT_NE(refusal(at("file")).find("write-protected"), std::string::npos) << refusal(at("file"));
  ASSERT_EQ(::chmod(folder_.c_str(), 0500), 0);
  EXPECT_NE(refusal(at("new")).find("is not writable"), std::string::npos) << refusal(at("new"));
  ASSERT_EQ(::chmod(folder_.c_str(), 0700), 0);
}

TEST_F(LockedFiles, AppendsReadsAndShortens) {
  const fs::path path = at("log");
  {
    LockedFile file(path);
    EXPECT_EQ(file.size(), 0);
    file.append("one\n");
    file.append("two\n");
    EXPECT_EQ(file.read(4, 3), "two");
    file.truncate(4);
    file.append("three\n");
    file.sync();
    EXPECT_EQ(file.size(), 10);
  }
  LockedFile again(path);
  EXPECT_EQ(again.read(0, again.size()), "one\nthree\n");
  again.remove();
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(LockedFiles, ASecondHolderIsRefused) {
  {
    LockedFile first(at("log"));
    EXPECT_THROW(LockedFile second(at("log")), Error);
    first.append("kept\n");
  }
  LockedFile third(at("log"));
  EXPECT_EQ(third.size(), 5);
}

TEST_F(LockedFiles, OnlyRegularFilesAreTaken) {
  EXPECT_THROW(LockedFile file("/dev/null"), Error);
  EXPECT_THROW(LockedFile file(folder_), Error);
}

}  // namespace
}  // namespace r1::pending_file_test
