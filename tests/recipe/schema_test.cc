// Every schema is well-formed, real files fit their schemas, and a schema lists exactly the keys that the
// configuration's reader asks for.
#include "recipe/schema.h"

#include <regex>

#include "base/error.h"
#include "formats/jsonl.h"
#include "recipe/recipe.h"
#include "tests/formats/json_schema.h"
#include "tests/train/train_test_util.h"

namespace r1::schema_test {
namespace {

namespace fs = std::filesystem;
using test::SchemaValidator;

const std::vector<std::string> kKinds = {"pretrain", "sft", "grpo", "ppo", "distill", "recipe"};

bool matches_a_pattern(const Json& schema, const std::string& key) {
  const Json* patterns = schema.find("patternProperties");
  return patterns != nullptr && std::ranges::any_of(patterns->members(), [&](const Json::Member& m) {
           return std::regex_search(key, std::regex(m.first));
         });
}

// Checks a schema and all schemas inside it. Some keywords have a schema as their value, others hold schemas
// by name.
void expect_well_formed(const Json& schema, const std::string& where) {
  if (schema.is_bool()) return;
  ASSERT_TRUE(schema.is_object()) << where;
  static const std::set<std::string> kTypes = {"null",   "boolean", "integer", "number",
                                               "string", "array",   "object"};
  for (const auto& [keyword, value] : schema.members()) {
    const std::string at = where + "/" + keyword;
    if (keyword == "properties" || keyword == "patternProperties" || keyword == "$defs") {
      for (const auto& [name, inner] : value.members()) expect_well_formed(inner, at + "/" + name);
    } else if (keyword == "items" || keyword == "additionalProperties" || keyword == "if" ||
               keyword == "then" || keyword == "else") {
      expect_well_formed(value, at);
    } else if (keyword == "anyOf" || keyword == "oneOf") {
      EXPECT_GE(value.size(), 2u) << at;
      for (const Json& inner : value.items()) expect_well_formed(inner, at);
    } else if (keyword == "type") {
      const std::vector<Json> types = value.is_array() ? value.items() : std::vector<Json>{value};
      for (const Json& type : types) EXPECT_TRUE(kTypes.contains(type.string())) << at;
    } else if (keyword == "required") {
      for (const Json& key : value.items()) EXPECT_TRUE(key.is_string()) << at;
    } else if (keyword == "pattern") {
      EXPECT_NO_THROW(std::regex(value.string())) << at;
    }
  }
  const Json* required = schema.find("required");
  const Json* properties = schema.find("properties");
  if (required == nullptr || properties == nullptr || !schema.contains("additionalProperties")) return;
  for (const Json& key : required->items())
    EXPECT_TRUE(properties->contains(key.string()) || matches_a_pattern(schema, key.string()))
        << where << " requires " << key.string();
}

TEST(Schema, EveryOneIsWellFormed) {
  const std::vector<SchemaName> names = schema_names();
  EXPECT_GE(names.size(), 25u);
  for (const SchemaName& name : names) {
    SCOPED_TRACE(name.name);
    EXPECT_FALSE(name.summary.empty());
    const Json schema = parse_json(schema_of(name.name).dump(2), name.name);
    EXPECT_EQ(schema.get_string("$schema"), "https://json-schema.org/draft/2020-12/schema");
    expect_well_formed(schema, name.name);
    // The validator must know every keyword, whatever the value.
    for (const char* value : {"{}", "[]", "1", "\"x\""}) {
      const std::string error = SchemaValidator(schema).check(parse_json(value, "value"));
      EXPECT_EQ(error.find("does not know the keyword"), std::string::npos) << error;
    }
  }
}

TEST(Schema, UnknownNamesNameTheNearest) {
  EXPECT_EQ(schema_of("metrics"), schema_of("metrics.jsonl"));
  try {
    schema_of("grop");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "no schema is called grop (did you mean grpo?)");
  }
}

// ---- configurations

Json config_json(const fs::path& path) {
  return ConfigFile::read(path).subtree("");
}

// recipes/r1-nano.toml is a recipe. The kind of the other files follows from their keys.
std::string kind_of(const Json& config) {
  if (config.contains("stage")) return "recipe";
  if (config.contains("teacher")) return "distill";
  if (config.contains("critic")) return "ppo";
  if (config.contains("rollout")) return "grpo";
  return config.at("model").is_object() ? "pretrain" : "sft";
}

TEST(Schema, ShippedConfigurationsFit) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(R1_SOURCE_DIR) / "recipes")) {
    Json config = config_json(entry.path());
    const std::string kind = kind_of(config);
    const Json schema = schema_of(kind);
    EXPECT_EQ(SchemaValidator(schema).check(config), "") << entry.path();
    config.set("sead", 3);
    EXPECT_NE(SchemaValidator(schema).check(config), "") << entry.path();
    ++files;
  }
  EXPECT_GE(files, 10);
}

// Returns one value of a leaf: its default, its minimum or its first choice.
std::string value_of(const std::string& key, const Json& leaf) {
  if (key == "data.task" || key == "stage.task") return "\"countdown\"";
  if (key == "optimizer.warmup" || key == "critic.warmup") return "0";
  if (key == "reward.http.url" || key == "reward.http.name") return "\"http://h\"";
  if (const Json* fallback = leaf.find("default")) return fallback->dump();
  if (const Json* choices = leaf.find("enum")) return choices->at(size_t{0}).dump();
  const std::string type = leaf.get_string("type");
  if (type == "string") return key == "stage.name" ? "\"s\"" : "\"x\"";
  if (type == "boolean") return "true";
  if (type == "array" && leaf.at("items").contains("properties")) {  // of tables
    std::string table;
    for (const auto& [name, inner] : leaf.at("items").at("properties").members())
      table += (table.empty() ? "" : ", ") + name + " = " + value_of(key + "." + name, inner);
    return "[{" + table + "}]";
  }
  if (type == "array") return leaf.at("items").get_string("type") == "string" ? "[\"f\"]" : "[0.5, 0.5]";
  if (const Json* low = leaf.find("minimum")) return low->dump();
  return "1";
}

struct Leaf {
  std::string key;
  Json schema;
};

void collect_leaves(const Json& table, const std::string& prefix, std::vector<Leaf>& leaves) {
  for (const auto& [name, inner] : table.at("properties").members()) {
    const std::string key = prefix + name;
    if (inner.contains("properties")) {
      collect_leaves(inner, key + ".", leaves);
    } else {
      leaves.push_back({key, inner});
    }
  }
}

// Returns TOML with every key of the schema except `without`, the keys of the other branch of a choice.
std::string with_every_key(const Json& schema, const std::set<std::string>& without) {
  std::vector<Leaf> leaves;
  collect_leaves(schema, "", leaves);
  std::string text;
  for (const Leaf& leaf : leaves) {
    if (!without.contains(leaf.key) && leaf.key != "model.config" && leaf.key != "stage" &&
        !leaf.schema.contains("anyOf"))
      text += leaf.key + " = " + value_of(leaf.key, leaf.schema) + "\n";
  }
  return text;
}

void expect_read(const std::string& kind, const std::string& text) {
  ConfigFile file = ConfigFile::parse(text, kind);
  try {
    kind == "recipe" ? read_recipe_keys(file) : read_stage_keys(kind, file);
  } catch (const Error& e) {
    ADD_FAILURE() << e.what() << "\n" << text;
  }
  EXPECT_EQ(SchemaValidator(schema_of(kind)).check(file.subtree("")), "") << text;
}

TEST(Schema, ReadersAcceptEveryKeyOfTheirSchema) {
  const Json pretrain = schema_of("pretrain");
  // Documents are generated or read from files.
  const std::set<std::string> corpus = {"data.task",        "data.four_numbers", "data.stop",
                                        "data.long_share",  "data.long_stop",    "data.aimed",
                                        "data.max_attempts"};
  const std::set<std::string> of_files = {"data.files",   "data.question",   "data.answer",
                                          "data.split",   "data.held_out",   "data.limit",
                                          "data.shuffle", "data.deduplicate"};
  std::set<std::string> old_model = corpus;
  old_model.insert({"tokenizer.vocab_size", "tokenizer.documents"});
  expect_read("pretrain", with_every_key(pretrain, of_files) + "model.config.hidden_size = 8\n");
  expect_read("pretrain", with_every_key(pretrain, corpus) + "model.config.hidden_size = 8\n");
  expect_read("pretrain", with_every_key(pretrain, old_model) + "model = \"m\"\n");
  expect_read("grpo", with_every_key(schema_of("grpo"), {}));
  expect_read("ppo", with_every_key(schema_of("ppo"), {}));
  for (const std::string kind : {"sft", "distill"}) {
    expect_read(kind, with_every_key(schema_of(kind), {"data.epochs"}));
    expect_read(kind, with_every_key(schema_of(kind), {"optimizer.steps"}));
  }
  const Json recipe = schema_of("recipe");
  const auto stage = [&](const std::string& kind, const std::set<std::string>& without) {
    std::string text = "[[stage]]\nkind = \"" + kind + "\"\nname = \"" + kind + "\"\n";
    for (const auto& [name, leaf] :
         recipe.at("properties").at("stage").at("items").at("properties").members()) {
      if (name != "kind" && name != "name" && !without.contains(name))
        text += name + " = " + value_of("stage." + name, leaf) + "\n";
    }
    return text;
  };
  expect_read("recipe", with_every_key(recipe, {}) + stage("eval", {"config", "teacher"}) +
                            stage("distill", {"task", "problems", "samples", "temperature", "max_tokens",
                                              "numerics", "batch"}));
}

// A key that some branch of a reader asks for but no example reaches would be missing in the schema. So every
// literal key in the readers' sources is compared with the schemas.
TEST(Schema, EveryKeyThatAReaderNamesIsInASchema) {
  std::set<std::string> known;
  for (const std::string& kind : kKinds) {
    const Json schema = schema_of(kind);
    std::vector<Leaf> leaves;
    collect_leaves(schema, "", leaves);
    for (const Leaf& leaf : leaves) {
      known.insert(leaf.key);
      if (const Json* choices = leaf.schema.find("anyOf"))
        collect_leaves(choices->at(size_t{1}), leaf.key + ".", leaves);
      if (leaf.key == "stage" || leaf.key == "eval")
        for (const auto& [name, inner] : leaf.schema.at("items").at("properties").members())
          known.insert(name);
    }
    for (const Leaf& leaf : leaves) {
      known.insert(leaf.key);
      // One reader reads [optimizer] and the same settings of [critic].
      if (leaf.key.starts_with("optimizer.")) known.insert(leaf.key.substr(leaf.key.find('.') + 1));
    }
  }
  const std::regex literal(
      R"re(\.(text|text_or|choice_or|integer|integer_or|number_or|boolean_or|numbers_or|texts_or|subtree|array_size)\(\s*(?:key\()?"([a-z_.]+)")re");
  int found = 0;
  for (const char* layer : {"train", "recipe"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(R1_SOURCE_DIR) / "src" / layer)) {
      if (entry.path().extension() != ".cc") continue;
      const std::string text = read_file(entry.path());
      for (std::sregex_iterator at(text.begin(), text.end(), literal), end; at != end; ++at, ++found)
        EXPECT_TRUE(known.contains((*at)[2])) << entry.path() << ": " << (*at)[2] << " is in no schema";
    }
  }
  EXPECT_GT(found, 80) << "the readers are no longer written as this test reads them";
}

TEST(Schema, DefaultsAndBoundsAreTheReaders) {
  const Json grpo = schema_of("grpo").at("properties");
  const Json& rollout = grpo.at("rollout").at("properties");
  EXPECT_EQ(rollout.at("group").get_int("default"), 16);
  EXPECT_EQ(rollout.at("group").get_int("minimum"), 2);
  EXPECT_FALSE(rollout.at("minibatches").contains("maximum")) << "it depends on rollout.prompts";
  EXPECT_FALSE(grpo.at("reward").at("properties").at("overlong_tokens").contains("default"));
  EXPECT_EQ(grpo.at("loss").at("properties").at("ratio").at("enum").size(), 3u);
  EXPECT_EQ(schema_of("grpo").at("required").dump(), R"(["model","name","optimizer"])");
  EXPECT_EQ(
      schema_of("sft").at("properties").at("balance").at("properties").at("gamma").get_number("default"), 0);
}

// ---- files of real runs

class SchemaOfRuns : public RunFolder {
 protected:
  static void expect_fits(const std::string& name, const Json& value) {
    const Json schema = schema_of(name);
    EXPECT_EQ(SchemaValidator(schema).check(value), "") << name << ": " << value.dump();
  }
  static size_t expect_rows_fit(const std::string& name, const fs::path& path) {
    const std::vector<Json> rows = read_jsonl(path);
    for (const Json& row : rows) expect_fits(name, row);
    EXPECT_FALSE(rows.empty()) << path;
    return rows.size();
  }
  SilentReporter reporter;
};

TEST_F(SchemaOfRuns, ReinforcementLearning) {
  ThreadPool threads(2);
  run_grpo_config(grpo_config("a.toml", "a"), {}, threads, reporter);
  EXPECT_EQ(expect_rows_fit("metrics.jsonl", root / "a/metrics.jsonl"), 4u);
  expect_rows_fit("samples.jsonl", root / "a/samples.jsonl");
  expect_fits("run.json", read_json(root / "a/run.json"));
  expect_fits("trainer.json", read_json(root / "a/checkpoints/step-000003/trainer.json"));
  // The validation can also fail.
  Json row = read_jsonl(root / "a/metrics.jsonl").front();
  const Json schema = schema_of("metrics.jsonl");
  EXPECT_NE(SchemaValidator(schema).check(row.set("surprise", 1)), "");
}

TEST_F(SchemaOfRuns, ReinforcementLearningWithACritic) {
  ThreadPool threads(2);
  const auto config = grpo_config("a.toml", "a", "", "[critic]\nlambda = 0.95\n");
  EXPECT_EQ(SchemaValidator(schema_of("ppo")).check(config_json(config)), "");
  run_ppo_config(config, {}, threads, reporter);
  EXPECT_EQ(expect_rows_fit("metrics.jsonl", root / "a/metrics.jsonl"), 4u);
  expect_rows_fit("samples.jsonl", root / "a/samples.jsonl");
  expect_fits("run.json", read_json(root / "a/run.json"));
  expect_fits("trainer.json", read_json(root / "a/checkpoints/step-000003/trainer.json"));
}

TEST_F(SchemaOfRuns, PretrainingAndFineTuning) {
  ThreadPool threads(2);
  const auto config =
      write("p.toml", "name = \"p\"\nmodel = \"" + base() + "\"\nout = \"" + (root / "p").string() +
                          "\"\n[optimizer]\nsteps = 2\n[batch]\ntokens = 400\n[checkpoint]\nevery = 1\n");
  run_pretrain_config(config, {}, threads, reporter);
  EXPECT_EQ(expect_rows_fit("metrics.jsonl", root / "p/metrics.jsonl"), 2u);
  expect_fits("run.json", read_json(root / "p/run.json"));
  expect_fits("trainer.json", read_json(root / "p/checkpoints/step-000001/trainer.json"));
  write("rows.jsonl",
        "{\"question\":\"make 6 from 1 2 3\",\"response\":\"<think>x</think><answer>1+2+3</answer>\"}\n");
  expect_rows_fit("data.jsonl", root / "rows.jsonl");
  const auto sft =
      write("s.toml", "name = \"s\"\nmodel = \"" + base() + "\"\nout = \"" + (root / "s").string() +
                          "\"\n[data]\nfiles = [\"" + (root / "rows.jsonl").string() + "\"]\nepochs = 2\n");
  EXPECT_EQ(SchemaValidator(schema_of("sft")).check(config_json(sft)), "");
  run_sft_config(sft, {}, threads, reporter);
  expect_rows_fit("metrics.jsonl", root / "s/metrics.jsonl");
}

class SilentRecipe : public RecipeReporter {
 public:
  void stage(const std::string&, const std::string&, int64_t, int64_t) override {}
  void evaluated(const std::string&, const Json&) override {}
  void progress(int64_t, int64_t) override {}
  void step(const Json&, int64_t) override {}
  void note(const std::string&) override {}
};

TEST_F(SchemaOfRuns, ARecipe) {
  write("d.toml", "name = \"d\"\nteacher = \"" + std::string(R1_SOURCE_DIR) +
                      "/models/r1-nano\"\nstudent = \"" + base() +
                      "\"\n[data]\nproblems = 8\nepochs = 1\n[rollout]\nsamples = 2\nmax_tokens = "
                      "80\n[batch]\ntokens = 200\n");
  const auto config = write(
      "r.toml", "name = \"r\"\nout = \"" + (root / "r").string() +
                    "\"\n[[stage]]\nname = \"d\"\nkind = \"distill\"\nconfig = \"d.toml\"\n[[stage]]\nname = "
                    "\"e\"\nkind = \"eval\"\nmodel = \"@d\"\ntask = \"countdown3\"\nproblems = 3\nsamples = "
                    "2\nmax_tokens = 40\n");
  EXPECT_EQ(SchemaValidator(schema_of("recipe")).check(config_json(config)), "");
  EXPECT_EQ(SchemaValidator(schema_of("distill")).check(config_json(root / "d.toml")), "");
  ThreadPool threads(2);
  SilentRecipe silent;
  run_recipe(config, {}, threads, silent);
  expect_fits("recipe.json", read_json(root / "r/recipe.json"));
  expect_fits("eval.json", read_json(root / "r/e/eval.json"));
  EXPECT_EQ(expect_rows_fit("eval-samples.jsonl", root / "r/e/samples.jsonl"), 6u);
  expect_fits("teacher.json", read_json(root / "r/d/teacher.json"));
  expect_rows_fit("data.jsonl", root / "r/d/data.jsonl");
  expect_fits("run.json", read_json(root / "r/d/run.json"));
}

TEST_F(SchemaOfRuns, BenchResultsThatWereKept) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(R1_SOURCE_DIR) / "bench/results")) {
    if (entry.path().extension() != ".json") continue;
    const Json json = read_json(entry.path());
    if (!json.contains("bench")) continue;
    expect_fits("bench-program", json);
    ++files;
  }
  EXPECT_GE(files, 1);
}

}  // namespace
}  // namespace r1::schema_test
