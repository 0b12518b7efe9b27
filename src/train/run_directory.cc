#include "train/run_directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "train/out_folder.h"

namespace r1 {
namespace fs = std::filesystem;

std::string read_name(ConfigFile& config, const std::string& key) {
  std::string name = config.text(key);
  if (!is_folder_name(name)) {
    config.fail(key,
                fmt::format("is {}; it names a folder, so it must not be empty, \".\" or \"..\", nor have "
                            "separators or control characters",
                            Json(name).dump()));
  }
  return name;
}

fs::path read_out(ConfigFile& config, const std::string& name) {
  std::string out = config.text_or("out", "runs/" + name);
  if (out.empty()) config.fail("out", "is \"\"; it must name a folder");
  if (out.find('\0') != std::string::npos) config.fail("out", "has a NUL character");
  return out;
}

RunConfig read_run_config(ConfigFile& config, std::string_view kind) {
  RunConfig run;
  run.kind = kind;
  run.name = read_name(config, "name");
  run.seed = static_cast<uint64_t>(config.integer_or("seed", 0, 0, INT64_MAX));
  run.out = read_out(config, run.name);
  run.numerics = read_numerics(config, "numerics");
  run.device = read_device(config, run.numerics);
  return run;
}

Device read_device(ConfigFile& config, Numerics numerics) {
  const std::string name = config.text_or("device", row_of(numerics).device == Device::cuda ? "cuda" : "cpu");
  try {
    const Device device = device_from_name(name);
    check_device(numerics, device);
    return memory_of(device).device();
  } catch (const Error& e) {
    config.fail("device", fmt::format("is refused: {}", e.what()));
  }
}

namespace {

Numerics named_numerics(ConfigFile& config, const std::string& key, const std::string& name) {
  try {
    return numerics_from_name(name);
  } catch (const Error& e) {
    config.fail(key, fmt::format("is refused: {}", e.what()));
  }
}

}  // namespace

Numerics read_numerics(ConfigFile& config, const std::string& key) {
  return named_numerics(config, key,
                        config.choice_or(key, name_of(default_numerics(DType::f32)),
                                         {name_of(Numerics::cpu_f32), name_of(Numerics::cpu_bf16),
                                          name_of(Numerics::cpu_avx512bf16), name_of(Numerics::cuda_bf16)}));
}

Numerics read_sampling_numerics(ConfigFile& config, const std::string& key, Numerics preset) {
  return named_numerics(
      config, key,
      config.choice_or(key, name_of(preset),
                       {name_of(Numerics::cpu_f32), name_of(Numerics::cpu_f32_kv_q8),
                        name_of(Numerics::cpu_bf16), name_of(Numerics::cpu_bf16_kv_q8),
                        name_of(Numerics::cpu_avx512bf16), name_of(Numerics::cpu_avx512bf16_kv_q8),
                        name_of(Numerics::cpu_q8act), name_of(Numerics::cpu_q8act_kv_f32),
                        name_of(Numerics::cpu_q8act_kv_q8), name_of(Numerics::cuda_bf16)}));
}

CheckpointConfig read_checkpoint_config(ConfigFile& config) {
  CheckpointConfig c;
  c.every = config.integer_if("checkpoint.every", 0, int64_t{1} << 40);
  c.keep = config.integer_or("checkpoint.keep", c.keep, 1, 1000);
  c.tensorboard = config.boolean_or("log.tensorboard", c.tensorboard);
  return c;
}

namespace {

RunSettings settings_of(const ConfigFile& config, const Json& inputs) {
  const Json all = config.settings();
  RunSettings settings{.values = Json::object(), .inputs = inputs};
  for (const auto& [key, value] : all.members()) {
    // [data] epochs becomes optimizer.steps once the data is read. Only the epochs, which the file gives, are
    // compared.
    if (key != "optimizer.steps" || !all.contains("data.epochs")) settings.values.set(key, value);
  }
  return settings;
}

}  // namespace

RunDirectory::RunDirectory(const RunConfig& run, ConfigFile& config, bool resume)
    : out_(check_run_folder(run.out)), settings_(settings_of(config, run.inputs)) {
  std::error_code ec;
  const fs::path index = out_ / "run.json";
  recover_directory(model_path());
  const bool goes_on = holds_work(out_);
  if (goes_on) {
    check_free(out_, resume);
    go_on(run);
  }
  const auto make = [&](const fs::path& directory) {
    if (!fs::create_directories(directory, ec) && ec)
      throw Error(fmt::format("{}: the run directory cannot be made: {}", out_.string(), ec.message()));
  };
  make(out_);
  Json json = goes_on ? read_json(index) : Json::object();
  json.set("kind", run.kind).set("config", config.source());
  json.set("config_sha256", fingerprint_of(settings_));
  json.set("numerics", name_of(run.numerics));
  json.set("settings", settings_.values).set("inputs", settings_.inputs);
  write_file_atomically(index, json.dump(2) + "\n");  // first: it makes the folder known as a run's
  make(out_ / "checkpoints");
  write_file_atomically(out_ / "config.toml", config.annotated_copy());
  if (read_checkpoint_config(config).tensorboard) events_.emplace(out_);
}

// Checks that the existing run may continue with the current settings.
void RunDirectory::go_on(const RunConfig& run) {
  const fs::path index = out_ / "run.json";
  const Json json = read_json(index);
  if (json.get_string("kind") != run.kind) {
    throw Error(fmt::format("{}: is a run of r1 {}, not of r1 {}: name another out", out_.string(),
                            json.get_string("kind"), run.kind));
  }
  if (json.get_string("numerics") != name_of(run.numerics)) {
    throw Error(fmt::format("{}: was made with numerics {}, this run would use {}: the bits would differ",
                            index.string(), json.get_string("numerics"), name_of(run.numerics)));
  }
  if (!json.contains("settings") || !json.contains("inputs")) {
    throw Error(
        fmt::format("{}: was made by an earlier version of r1, which kept no settings to compare: name "
                    "another out, or remove the folder",
                    index.string()));
  }
  if (!has_trained(out_)) return;  // only a teacher has run, and it compares its own settings
  const std::vector<int64_t> steps = checkpoint_steps();
  finished_ = json.get_int_or("finished", 0);
  notes_ = check_resumed(out_.string(), {json.at("settings"), json.at("inputs")}, settings_,
                         steps.empty() ? finished_ : steps.back());
}

void RunDirectory::check_free(const fs::path& out, bool resume) {
  if (resume || !holds_work(out)) return;
  throw Error(fmt::format("{}: holds a run already: add --resume to go on with it, or name another out",
                          out.string()));
}

bool RunDirectory::holds_work(const fs::path& out) {
  std::error_code ec;
  return fs::exists(out / "run.json", ec) && (fs::exists(out / "teacher.json", ec) || has_trained(out));
}

bool RunDirectory::has_trained(const fs::path& out) {
  std::error_code ec;
  if (fs::exists(out / "model", ec)) return true;
  if (fs::exists(out / "metrics.jsonl", ec) && fs::file_size(out / "metrics.jsonl", ec) > 0) return true;
  return !fs::is_empty(out / "checkpoints", ec) && !ec;
}

bool RunDirectory::finished(const fs::path& out, std::optional<int64_t> steps) {
  std::error_code ec;
  if (!fs::exists(out / "model" / "config.json", ec) || !fs::exists(out / "run.json", ec)) return false;
  const int64_t finished = read_json(out / "run.json").get_int_or("finished", 0);
  return finished > 0 && finished == steps.value_or(finished);
}

bool RunDirectory::begin(int64_t steps) {
  std::error_code ec;
  if (finished_ == 0 || !fs::exists(model_path() / "config.json", ec)) return true;
  if (steps == finished_) return false;
  if (steps < finished_) {
    throw Error(
        fmt::format("{}: is finished at step {}, more than the {} that are asked for: ask for more, or name "
                    "another out",
                    out_.string(), finished_, steps));
  }
  const std::vector<int64_t> kept = checkpoint_steps();
  if (kept.empty() || kept.back() < finished_) {
    throw Error(
        fmt::format("{}: is finished at step {}, and its last trainer state was not kept (checkpoint.every "
                    "was 0): it cannot go on to step {}",
                    out_.string(), finished_, steps));
  }
  check_model_folder(model_path());
  notes_.push_back(
      fmt::format("{} was finished at step {}: it goes on to step {}", out_.string(), finished_, steps));
  note("finished", 0);
  return true;
}

fs::path RunDirectory::checkpoint_path(int64_t step) const {
  return out_ / "checkpoints" / fmt::format("step-{:06d}", step);
}

std::vector<int64_t> RunDirectory::checkpoint_steps() const {
  std::vector<int64_t> steps;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(out_ / "checkpoints", ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("step-") || name.find_first_not_of("0123456789", 5) != std::string::npos) continue;
    if (fs::exists(entry.path() / "trainer.json", ec)) steps.push_back(std::stoll(name.substr(5)));
  }
  std::ranges::sort(steps);
  return steps;
}

std::optional<fs::path> RunDirectory::latest() const {
  const std::vector<int64_t> steps = checkpoint_steps();
  if (steps.empty()) return std::nullopt;
  return checkpoint_path(steps.back());
}

TrainerState RunDirectory::resume_from(const fs::path& checkpoint) {
  const Json json = read_json(checkpoint / "trainer.json");
  TrainerState state;
  state.step = json.get_int("step");
  state.tokens = json.get_int("tokens");
  state.wall_s = json.get_number("wall_s");
  state.next_document = json.get_int("next_document");
  state.next_problem = json.get_int("next_problem");
  state.sampled_tokens = json.get_int("sampled_tokens");
  state.updates = json.get_int("updates");
  state.metrics_rows = metrics_rows_ = json.get_int("metrics_rows");
  state.samples_rows = samples_rows_ = json.get_int("samples_rows");
  truncate_lines(out_ / "metrics.jsonl", metrics_rows_);
  truncate_lines(out_ / "samples.jsonl", samples_rows_);
  return state;
}

void RunDirectory::start_afresh() {
  truncate_lines(out_ / "metrics.jsonl", 0);
  truncate_lines(out_ / "samples.jsonl", 0);
}

void RunDirectory::write_metrics(const Json& row) {
  if (!metrics_) metrics_ = std::make_unique<JsonlWriter>(out_ / "metrics.jsonl", FileWriter::Mode::append);
  metrics_->write(row);
  metrics_->flush();  // so that a reader sees each step at once
  if (events_) events_->write(row);
  ++metrics_rows_;
}

void RunDirectory::write_sample(const Json& row) {
  if (!samples_) samples_ = std::make_unique<JsonlWriter>(out_ / "samples.jsonl", FileWriter::Mode::append);
  samples_->write(row);
  ++samples_rows_;
}

void RunDirectory::checkpoint(TrainerState state, int64_t keep,
                              const std::function<void(const fs::path&)>& fill) {
  const std::vector<int64_t> before = checkpoint_steps();
  try {
    if (samples_) samples_->flush();
    Json json = Json::object();
    json.set("step", state.step);
    json.set("tokens", state.tokens);
    json.set("wall_s", state.wall_s);
    json.set("next_document", state.next_document);
    json.set("next_problem", state.next_problem).set("sampled_tokens", state.sampled_tokens);
    json.set("updates", state.updates);
    json.set("metrics_rows", metrics_rows_);
    json.set("samples_rows", samples_rows_);
    write_directory_atomically(checkpoint_path(state.step), [&](const fs::path& directory) {
      fill(directory);
      write_file_atomically(directory / "trainer.json", json.dump(2) + "\n");
    });
  } catch (const Error& e) {
    const std::string intact = before.empty()
                                   ? "no earlier checkpoint is there"
                                   : fmt::format("step-{:06d} is intact, go on with --resume", before.back());
    throw Error(fmt::format("{} (while saving step-{:06d}; {})", e.what(), state.step, intact));
  }
  // A step that is saved twice, by a stop right after a resumption, is recorded once.
  if (!before.empty() && before.back() == state.step) return;
  std::error_code ec;
  for (size_t i = 0; i + static_cast<size_t>(keep) < before.size() + 1; ++i)
    fs::remove_all(checkpoint_path(before[i]), ec);
}

void RunDirectory::finish(int64_t steps, const std::function<void(const fs::path&)>& fill) {
  if (metrics_) metrics_->close();
  if (samples_) samples_->close();
  if (events_) events_->close();
  metrics_.reset();
  samples_.reset();
  write_directory_atomically(model_path(), fill);
  note("finished", steps);
}

void RunDirectory::note(std::string_view key, const Json& value) const {
  Json json = read_json(out_ / "run.json");
  json.set(key, value);
  write_file_atomically(out_ / "run.json", json.dump(2) + "\n");
}

}  // namespace r1
