// The page's files: types, validators, the content security policy, and what is refused.
#include <set>

#include "base/file.h"
#include "server/api_error.h"
#include "server/page_assets.h"
#include "server/url_text.h"
#include "tests/server/server_test_util.h"

namespace r1::page_test {
namespace {

using namespace test;

TestServer& page_server() {
  static TestServer one;
  return one;
}

TEST(Page, EveryFileHasItsTypeAndTheHeadersThatGuardIt) {
  const std::map<std::string, std::string> types = {{"html", "text/html; charset=utf-8"},
                                                    {"css", "text/css; charset=utf-8"},
                                                    {"js", "text/javascript; charset=utf-8"},
                                                    {"svg", "image/svg+xml"},
                                                    {"woff2", "font/woff2"}};
  std::set<std::string> targets = {"/"};
  for (const page_assets::PageFile& file : page_assets::all())
    targets.insert("/page/" + std::string(file.name));
  EXPECT_GE(targets.size(), 15u);
  for (const std::string& target : targets) {
    const HttpAnswer answer = page_server().ask("GET", target);
    ASSERT_EQ(answer.status, 200) << target;
    EXPECT_TRUE(answer.complete && !answer.body.empty()) << target;
    const std::string ending = target == "/" ? "html" : target.substr(target.rfind('.') + 1);
    EXPECT_EQ(answer.headers.at("content-type"), types.at(ending)) << target;
    EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
    EXPECT_EQ(answer.headers.at("referrer-policy"), "no-referrer");
    EXPECT_EQ(answer.headers.at("cache-control"), "no-cache");
    const std::string& policy = answer.headers.at("content-security-policy");
    for (const char* rule :
         {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'",
          "font-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"})
      EXPECT_NE(policy.find(rule), std::string::npos) << rule;
    for (const char* hole : {"unsafe", "http:", "https:", "data:", "*"})
      EXPECT_EQ(policy.find(hole), std::string::npos) << hole;
  }
}

// Our own files name no other host, and the page has neither inline scripts nor inline styles.
TEST(Page, AsksNoOtherHost) {
  for (const page_assets::PageFile& file : page_assets::all()) {
    if (file.name.starts_with("fonts/") || file.name.starts_with("katex")) continue;
    std::string text(file.bytes);
    // The names of SVG's elements, which nobody fetches, and the links that markdown.js recognises.
    for (const char* known : {"http://www.w3.org/2000/svg"}) {
      for (size_t at; (at = text.find(known)) != std::string::npos;)
        text.erase(at, std::string(known).size());
    }
    EXPECT_EQ(text.find("http://"), std::string::npos) << file.name;
    EXPECT_EQ(text.find("https://"), std::string::npos) << file.name;
    EXPECT_EQ(text.find("innerHTML"), std::string::npos) << file.name;
    EXPECT_EQ(text.find(" style="), std::string::npos) << file.name;
  }
  const std::string html = page_server().ask("GET", "/").body;
  for (size_t at = html.find("<script"); at != std::string::npos; at = html.find("<script", at + 1))
    EXPECT_NE(html.substr(at, html.find('>', at) - at).find(" src=\"/page/"), std::string::npos);
}

TEST(Page, IsAskedForAgainOnlyIfItHasChanged) {
  const HttpAnswer first = page_server().ask("GET", "/page/main.js");
  const std::string tag = first.headers.at("etag");
  EXPECT_TRUE(tag.size() > 10 && tag.front() == '"' && tag.back() == '"') << tag;
  for (const std::string& header : {tag, "\"other\", W/" + tag, std::string("*")}) {
    Connection connection(page_server().port());
    // A second request on the connection shows that no body followed the first answer's head.
    connection.send(request_text("GET", "/page/main.js", "", "If-None-Match: " + header + "\r\n") +
                    request_text("GET", "/health"));
    connection.read_until(
        [](const std::string& text) { return text.find("\"status\"") != std::string::npos; });
    const std::string text =
        connection.take(connection.read_until([](const std::string&) { return true; }).size());
    EXPECT_TRUE(text.starts_with("HTTP/1.1 304 ")) << header;
    const std::string head = text.substr(0, text.find("\r\n\r\n"));
    EXPECT_NE(head.find("ETag: " + tag), std::string::npos);
    EXPECT_EQ(head.find("Content-Length"), std::string::npos);
    EXPECT_EQ(text.substr(head.size() + 4, 12), "HTTP/1.1 200");
  }
  EXPECT_EQ(page_server().ask("GET", "/page/main.js", "", "If-None-Match: \"other\"\r\n").status, 200);
}

TEST(Page, HeadHasTheLengthAndNoBody) {
  Connection connection(page_server().port());
  connection.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n" + request_text("GET", "/nothing"));
  const std::string& text =
      connection.read_until([](const std::string& t) { return t.find(" 404 ") != std::string::npos; });
  const std::string head = text.substr(0, text.find("\r\n\r\n"));
  const size_t size = page_server().ask("GET", "/").body.size();
  EXPECT_NE(head.find("Content-Length: " + std::to_string(size)), std::string::npos) << head;
  EXPECT_EQ(text.substr(head.size() + 4, 12), "HTTP/1.1 404");
}

TEST(Page, RefusesWhatIsNotThere) {
  for (const char* target :
       {"/page/", "/page/nothing.js", "/page", "/page/../server.cc", "/page/%2e%2e/server.cc",
        "/page//main.js", "/page/fonts/", "/page/main.js/", "/index.html", "/page/MAIN.js"})
    EXPECT_EQ(page_server().ask("GET", target).status, 404) << target;
  for (const char* target : {"/", "/page/main.js", "/runs", "/runs/metrics"})
    EXPECT_EQ(page_server().ask("POST", target, "{}").status, 405) << target;
  EXPECT_EQ(page_server().ask("GET", "/?x=1#y").status, 200);
}

// The page must load before it can ask for the key. It holds nothing that is worth one.
TEST(Page, NeedsNoKeyAndRunsNeedOne) {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "r1-page-keys";
  FileWriter writer(file);
  writer.write("secret-key\n");
  writer.close();
  ServerOptions options;
  options.keys = ApiKeys::load(file);
  TestServer guarded(options);
  EXPECT_EQ(guarded.ask("GET", "/").status, 200);
  EXPECT_EQ(guarded.ask("GET", "/page/main.js").status, 200);
  for (const char* target : {"/runs", "/runs/metrics?run=0", "/runs/rollouts?run=0"})
    EXPECT_EQ(guarded.ask("GET", target).status, 401) << target;
  EXPECT_EQ(guarded.ask("GET", "/runs", "", "Authorization: Bearer secret-key\r\n").status, 200);
}

TEST(Page, OtherOriginsAndNamesAreRefused) {
  EXPECT_EQ(page_server().ask("GET", "/", "", "Origin: http://evil.example\r\n").status, 403);
  Connection rebound(page_server().port());
  rebound.send("GET /runs HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(read_answer(rebound).status, 403);
  // A proxy that takes TLS off passes the origin on as the browser sends it.
  EXPECT_EQ(page_server().ask("GET", "/health", "", "Origin: https://localhost\r\n").status, 200);
}

TEST(Page, AProxysNameIsKnownIfTheServerIsToldIt) {
  ServerOptions options;
  options.server_names = {"r1.example"};
  TestServer behind(options);
  const auto status = [&](const std::string& host, const std::string& origin) {
    Connection connection(behind.port());
    const std::string body = question().set("max_tokens", 1).dump();
    connection.send("POST /v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\nOrigin: " + origin +
                    "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return read_answer(connection).status;
  };
  EXPECT_EQ(status("r1.example", "https://r1.example"), 200);
  EXPECT_EQ(status("r1.example", "https://evil.example"), 403);
  EXPECT_EQ(status("evil.example", "https://evil.example"), 403);
}

TEST(Page, ItsFilesAreNotLogged) {
  TestServer quiet;
  quiet.ask("GET", "/");
  quiet.ask("GET", "/runs");
  EXPECT_TRUE(quiet.log().empty());
  quiet.ask("GET", "/page/nothing.js");
  EXPECT_EQ(quiet.log().size(), 1u);
}

TEST(UrlText, DecodesAndRefusesAParameterThatIsGivenTwice) {
  EXPECT_EQ(percent_decoded("a%20b%2Fc%zz%"), "a b/c%zz%");
  const std::map<std::string, std::string> got = query_parameters("run=0%2Fa&&x&y=%3d=");
  EXPECT_EQ(got, (std::map<std::string, std::string>{{"run", "0/a"}, {"x", ""}, {"y", "=="}}));
  EXPECT_THROW(query_parameters("a=1&a=2"), ApiError);
  EXPECT_TRUE(query_parameters("").empty());
}

}  // namespace
}  // namespace r1::page_test
