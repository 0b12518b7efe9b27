// recipe/teacher.h: rejection sampling: a teacher answers, and the answers that pass the verifier and the
// filter become a data set.
//
//   teacher = "DIR"
//   keep = 1                                the largest number of samples kept per problem
//   [data] task, problems                   the task's training problems 0 .. problems - 1 of the seed
//   [data] files, ...                       or problems of files (data/problem_source.h), all or the first `problems`
//   [prompt] template, system, think        the form of the teacher's prompts (engine/prompt_format.h)
//   [rollout] samples, max_tokens, temperature, top_p, batch
//             numerics, quantize            what the teacher computes in (default: the run's), and the type that its
//                                           weights get when they are loaded: a quantised teacher fits where the
//                                           student's training leaves room
//   [filter] prefer = "first" | "shortest"  which of a problem's good samples are kept
//            repeats = false                drops a sample whose thought says a line twice
//            max_tokens = N                 drops longer answers
//
// Samples are kept if they ended and are well formed and correct; equal answers to a problem count once. They
// are written whole, <think> included, even if the teacher's prompt opened the thought: sft_document.h adapts
// them to the student's own template.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/threads.h"
#include "data/problem_source.h"
#include "engine/prompt_format.h"
#include "engine/sampling_settings.h"
#include "formats/config_file.h"
#include "train/reporter.h"
#include "train/run_directory.h"

namespace r1 {

struct TeacherConfig {
  std::string teacher;  // a model's directory, or as the file names it
  ProblemData data;
  PromptFormat prompt = {};  // a Teacher needs it loaded
  uint64_t seed = 0;
  Numerics numerics = Numerics::cpu_f32;
  std::string quantize = {};  // a type of model/quantize_plan.h; "": the weights as they are
  Device device = Device::cpu;
  int64_t problems = 4096;  // 0: all problems of the files
  SamplingSettings sampling = {.samples = 4, .prefill_chunk = kRolloutPrefillChunk};  // [rollout]
  int64_t keep = 1;
  bool shortest = false, repeats = true;
  int64_t filter_tokens = 0;        // 0: no bound
  int64_t memory_limit = 0;         // bytes; 0: the machine's
  std::function<bool()> stop = {};  // see TrainOptions
};
TeacherConfig read_teacher_config(ConfigFile& file, const RunConfig& run);

// Cost and yield of the sampling, as in teacher.json.
struct TeacherResult {
  int64_t samples = 0, correct = 0, kept = 0, solved = 0;  // solved: problems with a correct sample
  int64_t sampled_tokens = 0;                              // by the teacher: answers, and each prompt once
  double seconds = 0;
};

// A loaded teacher. Its context size and its memory have been checked. Nothing is written before sample().
class Teacher {
 public:
  // Throws Error, also if OUT holds the answers of another teacher or of other settings.
  Teacher(TeacherConfig config, std::filesystem::path out, ThreadPool& threads);
  ~Teacher();
  Teacher(Teacher&&) noexcept;

  // Writes OUT/data.jsonl (rows {"question", "response", "problem", "sample", "tokens"}), then
  // OUT/teacher.json; existing files are reused if they were made with the same settings, template and
  // weights. OUT must exist. Throws Error if the teacher solves nothing or nothing is left after filtering;
  // throws Stopped.
  TeacherResult sample(Reporter& reporter);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace r1
