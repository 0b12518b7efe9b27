// Pre-training on documents of files: texts, whole or in pieces, for a new model and for an existing one.
#include "recipe/pretrain_data.h"
#include "tests/train/train_test_util.h"

namespace r1::pretrain_files_test {
namespace {

class PretrainFiles : public RunFolder {
 protected:
  PretrainData data_of(const std::vector<std::string>& files) const {
    PretrainData data;
    data.model = base();
    data.rows.files = files;
    data.rows.shuffle = false;
    return data;
  }
  std::string config(const std::string& more, const std::string& model) const {
    return "name = \"t\"\nseed = 3\nout = \"" + (root / "out").string() + "\"\n" + more +
           "[batch]\ntokens = 120\nmicro = 200\n[optimizer]\nlr = 1e-3\nsteps = 4\nwarmup = "
           "0\n[checkpoint]\nevery = 2\n" +
           model;
  }
  static constexpr const char* kNew =
      "[model.config]\nmodel_type = 'qwen2'\nhidden_size = 32\nintermediate_size = 64\nnum_hidden_layers = "
      "1\n"
      "num_attention_heads = 2\nnum_key_value_heads = 1\nmax_position_embeddings = 64\nrms_norm_eps = 1e-6\n"
      "rope_theta = 10000.0\ntie_word_embeddings = true\n[tokenizer]\nvocab_size = 300\n";
  std::string texts() const {
    std::string rows;
    for (int i = 0; i < 30; ++i)
      rows += "{\"text\": \"Document " + std::to_string(i) +
              " says that the sky is blue and the sea is green.\"}\n";
    return write("t.jsonl", rows).string();
  }
};

TEST_F(PretrainFiles, ATextEndsWithTheEndOfSequenceToken) {
  const ModelBundle bundle = ModelBundle::load(base());
  const PretrainData data = data_of({write("t.jsonl", "{\"text\": \"The sky is blue.\"}\n").string()});
  const Document d = pretrain_documents(data, bundle, 100)(0);
  std::vector<int32_t> want = bundle.raw_prompt("The sky is blue.");
  want.push_back(bundle.stop_tokens.front());
  EXPECT_EQ(d.tokens, want);
  EXPECT_EQ(d.prompt_size(), 1);
}

TEST_F(PretrainFiles, ATextFileIsOneDocumentThoughItHasBlankLines) {
  const ModelBundle bundle = ModelBundle::load(base());
  const PretrainData data =
      data_of({write("a.txt", "One.\n\nTwo.\n").string(), write("b.txt", "Three.").string()});
  const DocumentSource source = pretrain_documents(data, bundle, 100);
  EXPECT_EQ(bundle.tokenizer.decode(source(0).tokens, true), "One.\n\nTwo.\n");
  EXPECT_EQ(bundle.tokenizer.decode(source(1).tokens, true), "Three.");
}

TEST_F(PretrainFiles, ALongDocumentIsCutAndEveryTokenIsPredictedOnce) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 23; ++i) tokens.push_back(i);
  Document whole = document_from(tokens);
  for (const int64_t most : {2, 5, 10, 22, 23, 100}) {
    std::vector<int32_t> predicted;
    for (const Document& piece : pieces_of(whole, most)) {
      EXPECT_LE(std::ssize(piece.tokens), most);
      for (auto i = static_cast<size_t>(piece.prompt_size()); i < piece.tokens.size(); ++i) {
        EXPECT_EQ(piece.tokens[i - 1], piece.tokens[i] - 1);
        predicted.push_back(piece.tokens[i]);
      }
    }
    EXPECT_EQ(predicted, std::vector<int32_t>(whole.tokens.begin() + 1, whole.tokens.end())) << most;
  }
  whole.trained = {{4, 5}, {8, 9}, {12, 14}, {19, 22}};
  for (const int64_t most : {2, 3, 5, 9, 10, 22, 23, 100}) {
    std::vector<int32_t> predicted;
    for (const Document& piece : pieces_of(whole, most)) {
      check_ranges(piece.trained, 1, std::ssize(piece.tokens));
      for (const TokenRange& r : piece.trained)
        predicted.insert(predicted.end(), piece.tokens.begin() + r.begin, piece.tokens.begin() + r.end);
    }
    EXPECT_EQ(predicted, (std::vector<int32_t>{4, 8, 12, 13, 19, 20, 21})) << most;
  }
}

TEST_F(PretrainFiles, RowsWithAnAnswerAreWrittenByTheChatTemplate) {
  const ModelBundle bundle = ModelBundle::load(base());
  PretrainData data = data_of({write("t.jsonl", "{\"prompt\": \"Q\", \"completion\": \"A\"}\n").string()});
  EXPECT_EQ(bundle.tokenizer.decode(pretrain_documents(data, bundle, 100)(0).tokens),
            "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜>A<｜end▁of▁sentence｜>");
  data.loss_on = LossOn::answer;
  const Document d = pretrain_documents(data, bundle, 100)(0);
  EXPECT_EQ(d.prompt_size(), std::ssize(bundle.chat_prompt("Q").tokens));
}

TEST_F(PretrainFiles, ANewModelAndItsTokenizerLearnFromTheFilesAndResumeToTheBit) {
  const std::string files = "[data]\nfiles = [\"" + texts() + "\"]\nmax_tokens = 40\n";
  const auto path = write("c.toml", config(files, kNew));
  ThreadPool threads(2);
  SilentReporter reporter, silent;
  const auto whole = run_pretrain_config(path, {}, threads, reporter);
  ASSERT_EQ(reporter.rows.size(), 4u);
  EXPECT_LT(reporter.rows.back().get_number("loss"), reporter.rows.front().get_number("loss"));
  const ModelBundle bundle = ModelBundle::load(whole);
  EXPECT_LT(bundle.tokenizer.encode("the sky is blue", false).size(), 12u);  // merges of these texts
  const std::string weights = weights_of(whole);
  std::filesystem::remove_all(root / "out");
  run_pretrain_config(path, {.resume = false, .stop_after_steps = 3}, threads, silent);
  run_pretrain_config(path, {.resume = true}, threads, silent);
  EXPECT_TRUE(weights_of(whole) == weights);
}

TEST_F(PretrainFiles, AModelGoesOnWithTexts) {
  const std::string files =
      "model = \"" + base() + "\"\n[data]\nfiles = [\"" + texts() + "\"]\nmax_tokens = 16\n";
  ThreadPool threads(2);
  SilentReporter reporter;
  run_pretrain_config(write("c.toml", config(files, "")), {}, threads, reporter);
  EXPECT_EQ(reporter.rows.size(), 4u);
  EXPECT_TRUE(std::ranges::any_of(reporter.notes, [](const std::string& n) {
    return n.starts_with("30 documents with ") &&
           n.find("30 are longer than data.max_tokens = 16 and are cut") != std::string::npos;
  }));
}

TEST_F(PretrainFiles, SettingsOfTheCorpusAreRefusedBesideFiles) {
  ConfigFile file = ConfigFile::parse("model = 'm'\n[data]\nfiles = ['a']\ntask = 'countdown'", "c.toml");
  try {
    read_pretrain_data(file, 1);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("c.toml:4: data.task is for generated documents"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace r1::pretrain_files_test
