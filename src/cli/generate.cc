// cli/generate.cc: `r1 generate`: offline batches.
//
// Rows are written in order, each as soon as all before it are done: what a crash or a full disk leaves is a
// prefix.
#include <fmt/format.h>

#include <map>

#include "base/error.h"
#include "base/text_util.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace r1 {
namespace {

struct Job {
  int64_t row = 0;
  std::string error;
  int64_t request = -1;  // where error is empty
};

std::vector<int32_t> prompt_of(const Json& row, const SamplingModel& model) {
  const Json* prompt = row.find("prompt");
  const Json* messages = row.find("messages");
  const Json* tokens = row.find("tokens");
  if ((prompt != nullptr) + (messages != nullptr) + (tokens != nullptr) != 1) {
    row.fail("wants exactly one of \"prompt\", \"messages\" and \"tokens\"");
  }
  if (tokens != nullptr) return read_token_ids(*tokens);
  const ModelBundle& bundle = model.tokenized();
  if (prompt != nullptr) return bundle.raw_prompt(prompt->string());
  if (bundle.chat_template.empty())
    messages->fail("is given, but the model has no chat template: give \"prompt\"");
  return bundle.chat(chat_input(row)).tokens;
}

// "key": [seed, step, prompt]: the random numbers of a training rollout.
RandomKey key_of(const Json& row, RandomKey key) {
  const Json* given = row.find("key");
  if (given == nullptr) return key;
  const auto part = [&](size_t i, int64_t most) {
    const int64_t value = given->at(i).integer();
    if (value < 0 || value > most) given->at(i).fail(fmt::format("is {}, 0 to {} is wanted", value, most));
    return value;
  };
  if (given->size() != 3) given->fail("wants [seed, step, prompt]");
  return {.seed = static_cast<uint64_t>(part(0, INT64_MAX)),
          .step = static_cast<uint32_t>(part(1, UINT32_MAX)),
          .prompt = static_cast<uint32_t>(part(2, UINT32_MAX))};
}

class OfflineBatch {
 public:
  OfflineBatch(const GenerateOptions& options, const SamplingModel& model)
      : options_(options), model_(model) {}

  void read() {
    const Request base =
        base_request(options_.sampling, model_.sampling, model_.stop_tokens, model_.max_tokens);
    JsonlReader reader(input_path(options_.input));
    for (JsonlRow row; reader.next(row);) {
      Job& job = jobs_.emplace_back(Job{.row = row.row, .error = row.error});
      if (!job.error.empty()) continue;
      try {
        Request request = base;
        request.samples = options_.samples;
        request.prompt = prompt_of(row.value, model_);
        request.key.prompt = static_cast<uint32_t>(row.row);
        request.key = key_of(row.value, request.key);
        check_prompt(model_.model(), request.prompt, row.value.source());
        job.request = static_cast<int64_t>(requests_.size());
        requests_.push_back(std::move(request));
      } catch (const Error& e) {
        job.error = e.what();
      }
    }
  }

  int run() {
    RowOutput out(options_.output);
    Counter counter("samples", static_cast<int64_t>(requests_.size()) * options_.samples);
    write_ready(out);
    if (!requests_.empty()) {
      Runtime runtime(options_.common, model_.model(), model_.numerics);
      Engine engine(model_.model(), runtime.ctx,
                    {.max_batch = options_.batch,
                     .prefill_chunk = options_.prefill_chunk,
                     .kv_bytes = runtime.kv_bytes()});
      engine.run(requests_, {}, [&](const Completion& c) {
        done_.emplace(std::pair(c.request, c.sample), c);
        counter.add(1);
        write_ready(out);
      });
    }
    out.close();
    R1_CHECK(next_ == jobs_.size(), "rows left: ", jobs_.size() - next_);
    int64_t bad = 0;
    for (const Job& job : jobs_) bad += job.error.empty() ? 0 : 1;
    return status_of_rows(bad, static_cast<int64_t>(jobs_.size()));
  }

 private:
  void write_ready(RowOutput& out) {
    for (; next_ < jobs_.size(); ++next_, sample_ = 0) {
      const Job& job = jobs_[next_];
      if (!job.error.empty()) {
        out.write(error_row(job.row, job.error));
        continue;
      }
      for (; sample_ < options_.samples; ++sample_) {
        const auto at = done_.find({job.request, sample_});
        if (at == done_.end()) return;
        out.write(row_of(job, at->second));
        done_.erase(at);
      }
    }
  }

  Json row_of(const Job& job, const Completion& c) const {
    Json row = Json::object();
    row.set("row", job.row).set("sample", c.sample);
    row.set("prompt_tokens", Json::array_of(requests_[static_cast<size_t>(c.request)].prompt));
    row.set("tokens", Json::array_of(c.tokens)).set("text", model_.text_of(c.tokens));
    row.set("finish_reason", name_of(c.finish));
    if (options_.logprobs) {
      Json logprobs = Json::array();
      for (const float lp : c.logprobs) logprobs.push_back(hex_float(lp));
      row.set("logprobs", std::move(logprobs));
    }
    return row;
  }

  const GenerateOptions& options_;
  const SamplingModel& model_;
  std::vector<Job> jobs_;
  std::vector<Request> requests_;
  std::map<std::pair<int64_t, int64_t>, Completion> done_;  // (request, sample): done before its turn
  size_t next_ = 0;                                         // the first job that is not written whole
  int64_t sample_ = 0;                                      // its first sample that is not written
};

}  // namespace

int run_generate(const GenerateOptions& options) {
  check_common(options.common);
  check_at_least("--samples", options.samples, 1);
  check_at_least("--batch", options.batch, 1);
  check_at_least("--prefill-chunk", options.prefill_chunk, 1);
  refuse_overwriting(options.input, options.output);
  const SamplingModel model = SamplingModel::load(options.common, resolve_model(options.model));
  OfflineBatch batch(options, model);
  batch.read();
  return batch.run();
}

}  // namespace r1
