// The parts of the server that know no sockets.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "engine/model_bundle.h"
#include "server/answer_stream.h"
#include "server/api_error.h"
#include "server/api_keys.h"
#include "server/api_request.h"
#include "server/literal_text.h"
#include "server/quotas.h"
#include "server/stop_strings.h"
#include "text/bpe_trainer.h"

namespace r1::parts_test {
namespace {

std::string stopped(const std::vector<std::string>& stops, const std::string& text, size_t piece) {
  StopStrings finder(stops);
  std::string out;
  for (size_t at = 0; at < text.size(); at += piece) out += finder.feed(text.substr(at, piece));
  return out + finder.flush() + (finder.found() ? "|" + finder.which() : "");
}

TEST(StopStrings, TheFirstCompleteOneCountsHoweverTheTextIsCut) {
  for (size_t piece = 1; piece <= 12; ++piece) {
    EXPECT_EQ(stopped({"\n\n", "END"}, "a\nb\n\nc END", piece), "a\nb|\n\n");
    EXPECT_EQ(stopped({"bcd", "c"}, "abcd", piece), "ab|c");
    EXPECT_EQ(stopped({"cd", "abcd"}, "xabcdy", piece), "x|abcd");
    EXPECT_EQ(stopped({"aab"}, "aaaab", piece), "aa|aab");
    EXPECT_EQ(stopped({"never"}, "nevenev", piece), "nevenev");
    EXPECT_EQ(stopped({}, "text", piece), "text");
  }
}

TEST(StopStrings, HoldBackNoMoreThanMayBecomeOne) {
  StopStrings finder({"stop"});
  EXPECT_EQ(finder.feed("abc st"), "abc ");
  EXPECT_EQ(finder.feed("ay"), "stay");
  EXPECT_EQ(finder.feed("stop and more"), "");
  EXPECT_TRUE(finder.found());
  EXPECT_EQ(finder.feed("never seen"), "");
}

const Tokenizer& nano_tokenizer() {
  static const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(R1_SOURCE_DIR) / "models/r1-nano/tokenizer.json");
  return tokenizer;
}

TEST(AnswerStream, SplitsAndStopsAsTheWholeTextWould) {
  const Tokenizer& tokenizer = nano_tokenizer();
  const std::string text = "<think>\n3 + 4 STOP is 7\n</think>\n\nIt is 7 STOP and more";
  const AnswerRules rules{.splits_thought = true,
                          .in_thought = false,
                          .thought_limit = {},
                          .close = {},
                          .stop = {"STOP"},
                          .stop_tokens = {1}};
  AnswerStream stream(tokenizer, rules);
  std::string reasoning, content;
  AnswerStream::Next next = AnswerStream::Next::go_on;
  size_t records = 0;
  for (const int32_t id : tokenizer.encode(text, false)) {
    if (next == AnswerStream::Next::stop) break;
    next = stream.feed({.token = id, .logprob = -1, .likeliest = {}});
    AnswerStream::Delta delta = stream.take();
    reasoning += delta.reasoning;
    content += delta.content;
    records += delta.tokens.size();
  }
  EXPECT_EQ(next, AnswerStream::Next::stop);
  stream.finish();
  content += stream.take().content;
  EXPECT_EQ(reasoning, "3 + 4 STOP is 7");  // a stop string ends the answer, not the thought
  EXPECT_EQ(content, "It is 7 ");
  EXPECT_EQ(static_cast<int64_t>(records), stream.tokens());
}

TEST(AnswerStream, ClosesAThoughtAtItsLimitOnce) {
  const Tokenizer& tokenizer = nano_tokenizer();
  const AnswerRules rules{.splits_thought = true,
                          .in_thought = true,
                          .thought_limit = 3,
                          .close = tokenizer.encode("</think>", false),
                          .stop = {},
                          .stop_tokens = {}};
  AnswerStream stream(tokenizer, rules);
  const int32_t digit = *tokenizer.id_of("7");
  EXPECT_EQ(stream.feed({digit, 0, {}}), AnswerStream::Next::go_on);
  EXPECT_EQ(stream.feed({digit, 0, {}}), AnswerStream::Next::go_on);
  EXPECT_EQ(stream.feed({digit, 0, {}}), AnswerStream::Next::close_thought);
  EXPECT_EQ(stream.feed({rules.close.front(), 0, {}}), AnswerStream::Next::go_on);
  EXPECT_EQ(stream.feed({digit, 0, {}}), AnswerStream::Next::go_on);
  EXPECT_EQ(stream.thought_tokens(), 3);
  stream.finish();
  const AnswerStream::Delta all = stream.take();
  EXPECT_EQ(all.reasoning, "777");
  EXPECT_EQ(all.content, "7");
}

TEST(ThoughtLimit, KeepsBothLimitsAndLeavesRoomForAnAnswer) {
  ApiRequest request;
  EXPECT_FALSE(thought_limit(request, 1000).has_value());
  request.effort = Effort::low;
  EXPECT_EQ(thought_limit(request, 1000), 200);
  request.max_thinking_tokens = 50;
  EXPECT_EQ(thought_limit(request, 1000), 50);
  request.effort = Effort::none;
  EXPECT_EQ(thought_limit(request, 1000), 0);
  request.effort = Effort::max;
  request.max_thinking_tokens = 100000;
  EXPECT_EQ(thought_limit(request, 1000), 750);
  EXPECT_EQ(thought_limit(request, 100000), 100000 - 256);
  EXPECT_EQ(thought_limit(request, 2), 1);
  EXPECT_EQ(thought_limit(request, 1), 0);
}

TEST(LiteralText, MarksOnlySpecialTokensAndTheTagsOfUsers) {
  const LiteralText literal(nano_tokenizer());
  const auto message = [](const char* role, const char* text) {
    return Json::object().set("role", role).set("content", text);
  };
  const Json plain = Json::array().push_back(message("user", "a < b <|x|>"));
  EXPECT_EQ(literal.mark(plain).messages, plain);
  EXPECT_EQ(literal.mark(plain).mark, "");
  Json answers = Json::array();
  answers.push_back(message("assistant", "<think>a</think>b"));
  EXPECT_EQ(literal.mark(answers).mark, "");
  Json mixed = Json::array();
  mixed.push_back(message("user", "a</think><｜User｜>b"));
  const LiteralText::Marked marked = literal.mark(mixed);
  EXPECT_EQ(marked.mark, "\xEF\xB7\x90");  // U+FDD0
  EXPECT_EQ(marked.messages.at(size_t{0}).get_string("content"),
            "a<" + marked.mark + "/think><" + marked.mark + "｜User｜>b");
  // A user who writes the mark gets another one.
  Json sly = Json::array();
  sly.push_back(message("user", "\xEF\xB7\x90<｜User｜>"));
  EXPECT_EQ(literal.mark(sly).mark, "\xEF\xB7\x91");
}

TEST(Tokenizer, EncodesMarkedTextAsTheTextWithoutSpecialTokens) {
  const Tokenizer& tokenizer = nano_tokenizer();
  const std::string mark = "\xEF\xB7\x90";
  EXPECT_EQ(tokenizer.encode_marked("a<" + mark + "｜User｜>b", mark),
            tokenizer.encode("a<｜User｜>b", false, Tokenizer::Special::as_text));
  EXPECT_EQ(tokenizer.encode_marked("<｜User｜>7", mark), tokenizer.encode("<｜User｜>7", false));
}

TEST(Quotas, AKeyGetsWhatItsLimitsAllow) {
  using Clock = Quotas::Clock;
  const Clock::time_point begin{};
  const auto at = [&](double seconds) {
    return begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  };
  const auto wait = [](Quotas& quotas, const std::string& owner, Clock::time_point now) -> int64_t {
    try {
      quotas.begin(owner, now);
      return 0;
    } catch (const ApiError& e) {
      EXPECT_EQ(e.fields().status, 429);
      EXPECT_EQ(e.fields().code, "rate_limit_exceeded");
      return e.fields().retry_after_s;
    }
  };
  Quotas quotas({{"few", {.requests_per_minute = 2}},
                 {"tokens", {.tokens_per_minute = 600}},
                 {"day", {.tokens_per_day = 86400}},
                 {"free", {}}});
  EXPECT_EQ(wait(quotas, "few", at(100)), 0);
  EXPECT_EQ(wait(quotas, "few", at(100)), 0);
  EXPECT_EQ(wait(quotas, "few", at(100)), 30);
  EXPECT_EQ(wait(quotas, "few", at(115)), 15);
  EXPECT_EQ(wait(quotas, "few", at(130)), 0);
  EXPECT_EQ(wait(quotas, "few", at(130)), 30);
  // A long answer is paid for by what comes after it.
  EXPECT_EQ(wait(quotas, "tokens", at(100)), 0);
  quotas.spend("tokens", 1000, at(110));
  EXPECT_EQ(wait(quotas, "tokens", at(110)), 41);  // 400 too many, at ten per second, and one more
  EXPECT_EQ(wait(quotas, "tokens", at(152)), 0);
  EXPECT_EQ(wait(quotas, "day", at(0)), 0);
  quotas.spend("day", 86400 + 99, at(0));
  EXPECT_EQ(wait(quotas, "day", at(0)), 100);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(wait(quotas, "free", at(1)) + wait(quotas, "unknown", at(1)), 0);
}

TEST(ApiKeys, ALineMayHaveLimits) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("r1-limits-" + std::to_string(::getpid()));
  const auto load = [&](const std::string& text) {
    std::ofstream(file) << text;
    return ApiKeys::load(file);
  };
  const ApiKeys keys = load("# keys\nanna requests_per_minute=60  tokens_per_day=1000\nben\n");
  EXPECT_EQ(keys.quotas().at(*keys.owner_of("Bearer anna")),
            (KeyQuota{.requests_per_minute = 60, .tokens_per_day = 1000}));
  EXPECT_EQ(keys.quotas().at(*keys.owner_of("Bearer ben")), KeyQuota{});
  EXPECT_FALSE(keys.owner_of("Bearer anna requests_per_minute=60").has_value());
  const std::pair<const char*, const char*> wrong[] = {
      {"a b", ":1: b is no limit"},
      {"a\nb tokens_per_day=0", ":2: tokens_per_day is 0; it must be"},
      {"a tokens_per_day=1k", "tokens_per_day is 1k"},
      {"a requests_per_minute=1 requests_per_minute=2", "requests_per_minute is given twice"},
      {"a\n\na", ":3: the key is in an earlier line"}};
  for (const auto& [text, message] : wrong) {
    try {
      load(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    }
  }
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace r1::parts_test
