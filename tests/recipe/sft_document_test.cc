// A row of a data set becomes what the chat template writes, with one <think> and one end of turn, and
// nothing is dropped silently.
#include "recipe/sft_document.h"

#include <algorithm>

#include "base/file.h"
#include "formats/jsonl.h"
#include "recipe/sft_data.h"
#include "tests/text/text_test.h"
#include "tests/train/train_test_util.h"

namespace r1::sft_document_test {
namespace {

constexpr const char* kEos = "<｜end▁of▁sentence｜>";

// ChatML in tokens of the shipped tokenizer: <｜User｜>ROLE text <eos> newline.
constexpr const char* kRoles =
    "{{ bos_token }}{% if tools %}[{% for t in tools %}{{ t.function.name }}{% endfor %}]{% endif %}"
    "{% for m in messages %}<｜User｜>{{ m.role }} {% if m.reasoning_content %}<think>{{ m.reasoning_content "
    "}}</think>"
    "{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}({{ c.function.name }} "
    "{{ c.function.arguments | tojson }}){% endfor %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<｜User｜>assistant {% endif %}";

class SftDocuments : public RunFolder {
 protected:
  // Returns the shipped base with another template and other stop tokens.
  ModelBundle bundle(const std::string& chat_template, const std::string& eos_ids = "[1]") const {
    const std::filesystem::path directory = root / "model";
    std::filesystem::create_directories(directory);
    for (const char* file : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
      std::filesystem::copy_file(std::filesystem::path(base()) / file, directory / file,
                                 std::filesystem::copy_options::overwrite_existing);
    write_file_atomically(directory / "chat_template.jinja", chat_template);
    write_file_atomically(directory / "generation_config.json", "{\"eos_token_id\": " + eos_ids + "}");
    return ModelBundle::load(directory);
  }
  static SftDocument document(const ModelBundle& bundle, const std::string& row,
                              LossOn loss_on = LossOn::answer) {
    return sft_document(parse_json(row, "rows.jsonl:1"), bundle, loss_on);
  }
  static std::string text(const ModelBundle& bundle, std::span<const int32_t> tokens) {
    return bundle.tokenizer.decode(tokens);
  }
  // Returns the text that is trained on.
  static std::string learnt(const ModelBundle& bundle, const std::string& row) {
    const Document d = document(bundle, row).documents[0];
    return text(bundle, std::span(d.tokens).subspan(static_cast<size_t>(d.prompt_size())));
  }
  // Returns the text of every range that loss_on = "assistant" trains on.
  static std::vector<std::string> all_learnt(const ModelBundle& bundle, const std::string& row) {
    std::vector<std::string> out;
    for (const Document& d : document(bundle, row, LossOn::assistant).documents) {
      for (const TokenRange& r : d.trained) {
        out.push_back(text(bundle, std::span(d.tokens).subspan(static_cast<size_t>(r.begin),
                                                               static_cast<size_t>(r.end - r.begin))));
      }
    }
    return out;
  }
  static std::string whole(const ModelBundle& bundle, const std::string& row) {
    return text(bundle, document(bundle, row).documents[0].tokens);
  }
  static std::string failure(const ModelBundle& bundle, const std::string& row) {
    try {
      document(bundle, row);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

std::string messages(const std::string& last) {
  return R"({"messages": [{"role": "user", "content": "What is 3*7?"}, )" + last + "]}";
}

// SentencePiece's vocabularies put a space before a text, but not before an answer, which goes on with its
// prompt: sampling sees no such space either.
TEST_F(SftDocuments, AnAnswerGoesOnWithItsPrompt) {
  ModelBundle model = bundle(
      "{% for m in messages %}{% if m.role == 'user' %}<s>{{ m.content }} yo{% else %} {{ m.content }}</s>"
      "{% endif %}{% endfor %}");
  model.tokenizer = Tokenizer::from_json(parse_json(R"({"model": {"type": "BPE", "unk_token": "<unk>",
      "vocab": {"<unk>": 0, "</s>": 1, "<s>": 2, "\u2581": 3, "h": 4, "i": 5, "y": 6, "o": 7, "u": 8,
                "\u2581h": 9, "yo": 10, "\u2581yo": 11, "you": 12, "\u2581you": 13},
      "merges": [["\u2581", "h"], ["y", "o"], ["\u2581", "yo"], ["yo", "u"], ["\u2581yo", "u"]]},
      "added_tokens": [{"id": 1, "content": "</s>", "special": true}, {"id": 2, "content": "<s>", "special": true}],
      "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
      "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": false},
      "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": false}})",
                                                    "tokenizer.json"));
  const std::string row = R"({"messages": [{"role": "user", "content": "hi"},
      {"role": "assistant", "content": "you"}, {"role": "user", "content": "hi"},
      {"role": "assistant", "content": "yo"}]})";
  const std::vector<Document> documents = document(model, row, LossOn::assistant).documents;
  ASSERT_EQ(documents.size(), 1u);
  EXPECT_EQ(documents[0].tokens, model.tokenizer.encode("<s>hi yo you</s><s>hi yo yo</s>", false));
  const TokenRange last = documents[0].trained.back();
  EXPECT_EQ(documents[0].tokens[static_cast<size_t>(last.begin)], 11);  // "▁yo", not "▁" and "▁yo"
}

TEST_F(SftDocuments, TheShippedTemplateGivesTheTokensThatItAlwaysGave) {
  const ModelBundle nano = ModelBundle::load(std::string(R1_SOURCE_DIR) + "/models/r1-nano");
  const char* responses[] = {"<think>1+2=3, no</think><answer>1+2</answer>",
                             "<think>\n3*7\n</think>\n\n21\n",
                             "21",
                             " leading and trailing ",
                             "<think>never closed",
                             "1 <think>2</think> 3",
                             "<answer>1+2</answer>",
                             "</answer></answer>  "};
  for (const char* response : responses) {
    const Json row = Json::object().set("question", "Make 6 from 1, 2, 3.").set("response", response);
    const Document d = sft_document(parse_json(row.dump(), "rows"), nano, LossOn::answer).documents[0];
    std::vector<int32_t> want = nano.chat_prompt("Make 6 from 1, 2, 3.").tokens;
    EXPECT_EQ(d.prompt_size(), static_cast<int64_t>(want.size()));
    const std::vector<int32_t> answer = nano.tokenizer.encode(response, false);
    want.insert(want.end(), answer.begin(), answer.end());
    want.push_back(nano.stop_tokens.front());
    EXPECT_EQ(d.tokens, want) << response;
  }
}

TEST_F(SftDocuments, TheTurnEndsWithTheTokenThatTheTemplateWrites) {
  // There are two stop tokens, of which the template writes the second. The first, <bos>, does not end the
  // turn.
  const ModelBundle two = bundle(kRoles, "[0, 1]");
  const std::string row = messages(R"({"role": "assistant", "content": "<think>t</think>21"})");
  EXPECT_EQ(learnt(two, row), std::string("<think>t</think>21") + kEos);  // without the newline after it
  EXPECT_EQ(document(two, row).documents[0].tokens.back(), 1);
  // A token that is not a stop token also ends the turn, and nothing follows it.
  const ModelBundle other =
      bundle("{% for m in messages %}{{ m.role }}:{{ m.content }}<｜Assistant｜>{% endfor %}");
  EXPECT_EQ(learnt(other, messages(R"({"role": "assistant", "content": "21"})")),
            "assistant:21<｜Assistant｜>");
  // If several stop tokens follow the answer, the first one counts.
  const ModelBundle both = bundle(
      "{% for m in messages %}{{ m.content }}<｜Assistant｜>{% endfor %}{% if not "
      "add_generation_prompt %}\n<｜end▁of▁sentence｜>{% endif %}",
      "[1, 3]");
  EXPECT_EQ(learnt(both, messages(R"({"role": "assistant", "content": "21"})")), "21<｜Assistant｜>");
}

TEST_F(SftDocuments, ATemplateWithoutAnEndGetsTheModelsStopToken) {
  const ModelBundle none = bundle(
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}",
      "[0, 1]");
  // There are two stop tokens. The one that tokenizer_config.json names as eos_token is used.
  EXPECT_EQ(learnt(none, messages(R"({"role": "assistant", "content": "21"})")), std::string("21\n") + kEos);
}

TEST_F(SftDocuments, AThoughtThatTheTemplateCutsIsNotLost) {
  const ModelBundle cuts = bundle(
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}"
      "<｜Assistant｜>{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}");
  EXPECT_EQ(learnt(cuts, messages(R"({"role": "assistant", "content": "<think>\n3*7\n</think>\n\n21"})")),
            std::string("<think>\n3*7\n</think>\n\n21") + kEos);
  // The thought's words are also in the answer, but that does not mean that the thought is rendered.
  EXPECT_EQ(
      learnt(cuts, messages(R"({"role": "assistant", "content": "<think>21</think><answer>21</answer>"})")),
      std::string("<think>21</think><answer>21</answer>") + kEos);
  EXPECT_EQ(learnt(cuts, messages(R"({"role": "assistant", "content": "21", "reasoning_content": "3*7"})")),
            std::string("<think>\n3*7\n</think>\n\n21") + kEos);
  EXPECT_EQ(learnt(cuts, messages(R"({"role": "assistant", "content": "3*7\n</think>\n21"})")),
            std::string("<think>\n3*7\n</think>\n21") + kEos);
}

TEST_F(SftDocuments, APromptThatOpensTheThoughtHasTheOnlyTag) {
  const std::string opens =
      std::string(kRoles).substr(0, std::string(kRoles).rfind("{% endif %}")) + "<think>\n{% endif %}";
  const ModelBundle model = bundle(opens);
  const auto ends_with_one_tag = [&](const std::string& row, const std::string& want) {
    const std::string all = whole(model, row);
    EXPECT_TRUE(all.ends_with("<｜User｜>assistant <think>\n" + want + kEos)) << all;
    EXPECT_EQ(all.find("<think>"), all.rfind("<think>")) << all;
    EXPECT_EQ(learnt(model, row), want + kEos);
  };
  ends_with_one_tag(R"({"question": "q", "response": "<think>\n3*7=21\n</think>\n\n21"})",
                    "3*7=21\n</think>\n\n21");
  ends_with_one_tag(R"({"question": "q", "response": "<think>3*7=21</think>21"})", "3*7=21</think>21");
  ends_with_one_tag(R"({"question": "q", "response": "3*7=21\n</think>\n\n21"})", "3*7=21\n</think>\n\n21");
  ends_with_one_tag(messages(R"({"role": "assistant", "content": "21", "reasoning_content": "3*7"})"),
                    "3*7</think>21");  // the template writes it like this
  ends_with_one_tag(R"({"question": "q", "response": "21"})", "\n</think>\n\n21");
}

TEST_F(SftDocuments, ToolsCallsResultsAndPartsReachTheTemplate) {
  const ModelBundle model = bundle(kRoles);
  const std::string row = R"({"tools": [{"type": "function", "function": {"name": "add"}}], "messages": [
      {"role": "user", "content": [{"type": "text", "text": "3+4?"}, {"type": "text", "text": "please"}]},
      {"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 3}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "7"},
      {"role": "assistant", "content": "It is 7."}]})";
  EXPECT_EQ(whole(model, row), std::string("<｜begin▁of▁sentence｜>[add]<｜User｜>user 3+4?\nplease") + kEos +
                                   "\n<｜User｜>assistant (add {\"a\": 3})" + kEos + "\n<｜User｜>tool 7" +
                                   kEos + "\n<｜User｜>assistant It is 7." + kEos);
  EXPECT_EQ(learnt(model, row), std::string("It is 7.") + kEos);
  EXPECT_TRUE(document(model, row).left_out.empty());
  // A call can be learnt, and its arguments may be an object.
  EXPECT_EQ(learnt(model, messages(R"({"role": "assistant", "tool_calls": [
      {"type": "function", "function": {"name": "add", "arguments": {"a": 3}}}]})")),
            std::string("(add {\"a\": 3})") + kEos);
}

// A user asks twice, and a tool is called in between.
constexpr const char* kTurns = R"({"messages": [
    {"role": "user", "content": "3+4?"},
    {"role": "assistant", "content": "", "tool_calls": [
      {"type": "function", "function": {"name": "add", "arguments": {"a": 3}}}]},
    {"role": "tool", "content": "7"}, {"role": "assistant", "content": "It is 7."},
    {"role": "user", "content": "sure?"}, {"role": "assistant", "content": "Yes."}]})";

TEST_F(SftDocuments, EveryAnswerOfAConversationIsLearntInOneDocument) {
  const ModelBundle model = bundle(kRoles);
  const SftDocument d = document(model, kTurns, LossOn::assistant);
  ASSERT_EQ(d.documents.size(), 1u);
  EXPECT_EQ(text(model, d.documents[0].tokens), whole(model, kTurns));
  EXPECT_EQ(all_learnt(model, kTurns),
            (std::vector<std::string>{std::string("(add {\"a\": 3})") + kEos, std::string("It is 7.") + kEos,
                                      std::string("Yes.") + kEos}));
  EXPECT_EQ(d.documents[0].trained.back().end, std::ssize(d.documents[0].tokens));
}

TEST_F(SftDocuments, AnAnswerAfterARewrittenTurnIsADocumentOfItsOwn) {
  const ModelBundle nano = ModelBundle::load(base());  // its template drops the thoughts of earlier turns
  const std::string row =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "1"},
      {"role": "user", "content": "b"}, {"role": "assistant", "content": "<think>t</think>2"},
      {"role": "user", "content": "c"}, {"role": "assistant", "content": "<think>u</think>3"}]})";
  const std::vector<Document> documents = document(nano, row, LossOn::assistant).documents;
  ASSERT_EQ(documents.size(), 2u);
  const std::string bos = "<｜begin▁of▁sentence｜>", user = "<｜User｜>", assistant = "<｜Assistant｜>";
  EXPECT_EQ(text(nano, documents[0].tokens),
            bos + user + "a" + assistant + "1" + kEos + user + "b" + assistant + "<think>t</think>2" + kEos);
  EXPECT_EQ(documents[0].trained.size(), 2u);
  EXPECT_EQ(text(nano, documents[1].tokens), bos + user + "a" + assistant + "1" + kEos + user + "b" +
                                                 assistant + "2" + kEos + user + "c" + assistant +
                                                 "<think>u</think>3" + kEos);
  ASSERT_EQ(documents[1].trained.size(), 1u);
  EXPECT_EQ(documents[1].trained[0].end, std::ssize(documents[1].tokens));
  // Reading a file says so, and takes or leaves a row as a whole.
  std::string line = parse_json(row, "row").dump() + "\n";
  std::vector<std::string> notes;
  const DataFiles data{.files = {write("turns.jsonl", line).string()}};
  const auto read = [&](int64_t max_tokens) {
    return read_sft_documents(data, nano, LossOn::assistant, max_tokens,
                              [&](const std::string& note) { notes.push_back(note); });
  };
  EXPECT_EQ(read(100).size(), 2u);
  EXPECT_TRUE(notes.back().starts_with("1 conversations are learnt as 2 documents")) << notes.back();
  const auto shorter = std::ssize(documents[0].tokens), longer = std::ssize(documents[1].tokens);
  ASSERT_LT(shorter, longer);
  EXPECT_THROW(read(shorter), Error);
}

TEST_F(SftDocuments, TemplateVariablesOfARowAreHonoured) {
  const ModelBundle model = bundle(
      "{% if style %}[{{ style }}]{% endif %}{% for m in messages %}{{ m.content }}"
      "{{ eos_token }}{% endfor %}");
  EXPECT_TRUE(
      whole(model, R"({"question": "q", "response": "r", "chat_template_kwargs": {"style": "terse"}})")
          .starts_with("[terse]q"));
}

TEST_F(SftDocuments, NamesWhatTheTemplateLeavesOut) {
  const ModelBundle nano = ModelBundle::load(base());
  const SftDocument d =
      document(nano, R"({"tools": [{"type": "function", "function": {"name": "add"}}], "messages": [
      {"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"},
      {"role": "assistant", "content": "a"}]})");
  EXPECT_EQ(d.left_out, (std::vector<std::string>{"messages of role system", "tools"}));
}

TEST_F(SftDocuments, ARowThatCannotBeUsedSaysWhy) {
  const ModelBundle model = bundle(kRoles);
  const std::pair<const char*, const char*> rows[] = {
      {R"({"messages": [{"role": "user", "content": "x"}]})", "does not end with an assistant's message"},
      {R"({"messages": []})", "is empty"},
      {R"({"messages": [{"role": "assistant", "content": "x"}]})", "answer to nothing"},
      {R"({"text": "x"})", "neither messages nor question and response"},
      {R"({"question": "x"})", "response is missing"},
      {R"({"question": "x", "response": 3})", "response is an integer"},
      {R"({"question": "x", "response": "y", "messages": []})", "give one of the two"},
      {R"([1])", "is no object"},
      {R"({"messages": ["x"]})", "must be an object"},
  };
  for (const auto& [row, reason] : rows) {
    const std::string error = failure(model, row);
    EXPECT_NE(error.find(reason), std::string::npos) << row << ": " << error;
    EXPECT_TRUE(error.starts_with("rows.jsonl:1: ")) << error;
  }
  EXPECT_NE(failure(model, messages(R"({"role": "assistant", "content": ""})"))
                .find("neither content nor tool_calls"),
            std::string::npos);
  EXPECT_NE(
      failure(model,
              messages(R"({"role": "assistant", "content": "<think>a</think>b", "reasoning_content": "c"})"))
          .find("give the thought once"),
      std::string::npos);
  EXPECT_NE(
      failure(model, messages(R"({"role": "assistant", "content": [{"type": "image"}]})")).find("type image"),
      std::string::npos);
  const ModelBundle refuses = bundle("{{ raise_exception('no') }}");
  const auto file = write("bad.jsonl", "{\"question\": \"q\", \"response\": \"r\"}\n");
  try {
    read_sft_documents(DataFiles{.files = {file.string()}, .selection = {.deduplicate = false}}, refuses,
                       LossOn::answer, 100);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with(file.string() + ":1: ")) << error.what();
    EXPECT_NE(std::string(error.what()).find("the template refuses: no"), std::string::npos) << error.what();
  }
}

TEST_F(SftDocuments, ColumnsThatAreNotUsedAreNamedOnce) {
  const ModelBundle nano = ModelBundle::load(base());
  std::string rows;
  for (int i = 0; i < 3; ++i)
    rows += "{\"question\": \"q\", \"response\": \"r\", \"id\": 1, \"source\": {\"a\": 2}}\n";
  rows +=
      "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": "
      "\"q\"}, "
      "{\"role\": \"assistant\", \"content\": \"r\"}]}\n";
  const auto file = write("data.jsonl", rows);
  std::vector<std::string> notes;
  read_sft_documents(DataFiles{.files = {file.string()}, .selection = {.deduplicate = false}}, nano,
                     LossOn::answer, 100, [&](const std::string& line) { notes.push_back(line); });
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0], file.string() + ": 4 of 4 rows are used (messages, question/response)");
  EXPECT_EQ(notes[1], file.string() + ": columns id, source are not used");
  EXPECT_TRUE(
      notes[2].starts_with(file.string() + ":4: the chat template does not write messages of role system"))
      << notes[2];
}

// With every published template, the thought and the answer are trained on once each, however the template
// writes them.
TEST_F(SftDocuments, NoPublishedTemplateLosesAThoughtOrAnAnswer) {
  const auto folder = shared_data("templates");
  R1_NEEDS(folder);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".jinja") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  const std::string rows[] = {
      messages(R"({"role": "assistant", "content": "<think>\nthree sevens\n</think>\n\nIt is 21."})"),
      messages(R"({"role": "assistant", "content": "It is 21.", "reasoning_content": "three sevens"})"),
      messages(R"({"role": "assistant", "content": "It is 21."})"),
  };
  int refused = 0;
  for (const auto& file : files) {
    const ModelBundle model = bundle(read_file(file));
    try {
      model.chat_prompt("What is 3*7?");
    } catch (const Error&) {  // the template renders no conversation without tools or further variables
      ++refused;
      continue;
    }
    const std::vector<std::string> answers =
        all_learnt(model, R"({"messages": [{"role": "user", "content": "What is 3*7?"},
          {"role": "assistant", "content": "<think>\nthree sevens\n</think>\n\nIt is 21."},
          {"role": "user", "content": "And 3*8?"}, {"role": "assistant", "content": "It is 24."}]})");
    ASSERT_EQ(answers.size(), 2u) << file;
    EXPECT_NE(answers[0].find("three sevens"), std::string::npos) << file << ": " << answers[0];
    EXPECT_NE(answers[0].find("It is 21."), std::string::npos) << file << ": " << answers[0];
    EXPECT_NE(answers[1].find("It is 24."), std::string::npos) << file << ": " << answers[1];
    EXPECT_EQ(answers[1].find("21"), std::string::npos) << file << ": " << answers[1];
    for (const std::string& row : rows) {
      const std::string got = learnt(model, row);
      const auto once = [&](const std::string& words) {
        return got.find(words) != std::string::npos && got.find(words) == got.rfind(words);
      };
      const bool has_thought = row.find("three sevens") != std::string::npos;
      EXPECT_TRUE(once("It is 21.") && (!has_thought || once("three sevens"))) << file << ": " << got;
      EXPECT_EQ(got.find("<think>"), got.rfind("<think>")) << file << ": " << got;
    }
  }
  EXPECT_LE(refused, 4);
}

}  // namespace
}  // namespace r1::sft_document_test
