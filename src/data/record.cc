#include "data/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/ascii.h"
#include "base/error.h"
#include "data/record_chat.h"
#include "formats/shown.h"
#include "text/chat_template.h"

namespace r1 {
namespace {

constexpr std::array kQuestions = {"question", "problem", "prompt", "query"};
// Fields of the whole answer, then of the final answer. The first one that the row has is used.
constexpr std::array kAnswers = {"solution", "completion", "response", "output", "answer"};
constexpr std::array kGolds = {"gold", "final_answer", "ground_truth", "expected_answer", "answer"};

// Returns the name of the first of these fields that the row has and that is neither null nor blank, or "".
template <size_t N>
std::string_view first_of(const Json& row, const std::array<const char*, N>& names) {
  for (const char* name : names) {
    const Json* value = row.find(name);
    if (value == nullptr || value->is_null()) continue;
    if (!value->is_string() || !trim(value->string()).empty()) return name;
  }
  return {};
}

// Returns an answer as text. It may be text, a number (as it is written), or a list with one of these.
std::string answer_text(const Json& value) {
  if (value.is_string()) return value.string();
  if (value.is_number()) return value.literal();
  if (value.is_array() && value.size() == 1) return answer_text(value.at(size_t{0}));
  value.fail("is no answer: it must be a string or a number");
}

void refuse_programs(const Json& row) {
  const char* name = row.contains("canonical_solution") && row.contains("test") ? "HumanEval"
                     : row.contains("test_list") && row.contains("code")        ? "MBPP"
                                                                                : nullptr;
  if (name != nullptr)
    row.fail(fmt::format("is a row of {}, whose answers are programs: this build runs no programs", name));
}

void refuse_choices(const Json& row) {
  for (const char* name : {"choices", "options"}) {
    const Json* list = row.find(name);
    if (list != nullptr && (list->is_array() || list->is_object()) && list->size() > 0) {
      list->fail(
          "holds the choices of a question; write question and answer under [data] so that they are asked "
          "too");
    }
  }
}

bool is_countdown(const Json& json) {
  return json.is_object() && (json.contains("numbers") || json.contains("nums"));
}

std::string fields_of(const Json& row) {
  constexpr size_t kMost = 12;
  std::string names;
  for (size_t i = 0; i < std::min(row.members().size(), kMost); ++i)
    names += (i == 0 ? "" : ", ") + shown(row.members()[i].first);
  if (row.members().size() > kMost) names += ", ...";
  return names;
}

std::string format_of(const Json& row, std::string_view question, std::string_view answer) {
  const Json* url = row.find("url");
  if (url != nullptr && url->is_string() && question == "question" && row.contains("problem")) {
    if (url->string().find("AIME") != std::string::npos) return "AIME";
    if (url->string().find("AMC") != std::string::npos) return "AMC";
  }
  if (row.contains("unique_id") && row.contains("subject") && question == "problem") return "MATH-500";
  if (row.contains("idx") && row.contains("type") && question == "problem" && answer == "solution")
    return "Minerva";
  const Json* text = row.find("answer");
  if (question == "question" && answer == "answer" && text->is_string() &&
      text->string().find("####") != std::string::npos)
    return "GSM8K";
  return fmt::format("{}/{}", question, answer);
}

// Returns the final answer in a field's text, which may begin with the derivation.
std::string final_of(const std::string& text) {
  const std::string mark = marked_answer(text);
  return mark.empty() ? std::string(trim(text)) : mark;
}

// Returns the text if it can be a final answer as it stands (short, one line), else "".
std::string short_answer(const std::string& text) {
  constexpr size_t kShort = 200;
  const std::string_view all = trim(text);
  return all.size() <= kShort && all.find('\n') == std::string_view::npos ? std::string(all) : "";
}

// Returns the final answer that the row has in a field of its own, or null.
Json given_gold(const Json& row) {
  const std::string_view gold = first_of(row, kGolds);
  if (!gold.empty()) return final_of(answer_text(row.at(gold)));
  const Json* model = row.find("reward_model");  // the name in verl's data sets
  const Json* truth = model != nullptr && model->is_object() ? model->find("ground_truth") : nullptr;
  return truth != nullptr && !truth->is_null() ? Json(final_of(answer_text(*truth))) : Json();
}

void take_plain_answer(const Json& row, Record& record) {
  const std::string_view answer = first_of(row, kAnswers);
  if (!answer.empty()) record.answer = answer_text(row.at(answer));
  record.gold = given_gold(row);
  if (!record.gold.is_null()) {
    if (answer.empty()) record.answer = record.gold.string();
    return;
  }
  std::string mark = marked_answer(record.answer);
  if (mark.empty()) mark = short_answer(record.answer);
  if (!mark.empty()) record.gold = std::move(mark);
}

bool read_task(const Json& row, Record& record) {
  const Json* task = row.find("task");
  const std::string_view gold = first_of(row, kGolds);
  const bool in_row = is_countdown(row);
  const bool in_gold = !gold.empty() && row.at(gold).is_object();
  if (task == nullptr && !in_row && !in_gold) return false;
  if (task == nullptr && !in_row && !is_countdown(row.at(gold)))
    row.at(gold).fail("is no countdown object, and the row names no task");
  record.task = task != nullptr ? task->string() : "countdown";
  record.format = task != nullptr ? "task" : "countdown";
  const bool wants_numbers = verifier_name(record.task) == "countdown";
  const std::string_view question = first_of(row, kQuestions);
  if (!question.empty()) record.question = row.at(question).string();
  if (wants_numbers) {
    record.gold = in_row || gold.empty() ? row : row.at(gold);
    return true;
  }
  if (question.empty()) row.fail("needs question, prompt or problem");
  if (gold.empty()) row.fail("needs gold or answer");
  record.gold = row.at(gold);
  if (record.gold.is_number()) record.gold = record.gold.literal();
  if (record.gold.is_string()) record.answer = record.gold.string();
  return true;
}

void read_question(const Json& row, GoldIs gold_is, Record& record) {
  const std::string_view question = first_of(row, kQuestions), answer = first_of(row, kAnswers);
  const std::string_view gold = first_of(row, kGolds);
  if (question.empty()) {
    row.fail(fmt::format(
        "is of no known format (its fields are {}): it needs a question, messages or a text; or write "
        "question and answer under [data]",
        fields_of(row)));
  }
  refuse_choices(row);
  record.question = row.at(question).string();
  take_plain_answer(row, record);
  if (record.answer.empty() && record.gold.is_null()) {
    if (gold_is == GoldIs::optional) {
      record.format = question;
      return;
    }
    for (const char* name : kAnswers) {
      if (const Json* empty = row.find(name)) empty->fail("is empty or null: the row has no answer");
    }
    row.fail(fmt::format("needs gold or answer (its fields are {})", fields_of(row)));
  }
  record.format = format_of(row, question, answer.empty() ? gold.empty() ? "reward_model" : gold : answer);
}

}  // namespace

// Holds an expression as a template that prints it.
struct RecordMapping::Expression {
  Expression(const std::string& text, const std::string& source)
      : key(source), expression(is_template(text) ? text : "{{ " + text + " }}", source) {}
  static bool is_template(const std::string& text) {
    return text.find("{{") != std::string::npos || text.find("{%") != std::string::npos;
  }
  std::string in(const Json& row) const {
    ChatInput input;
    input.kwargs = row;
    std::string text;
    try {
      text = expression.render(input);
    } catch (const Error& error) {
      row.fail(error.what());
    }
    if (trim(text).empty())
      row.fail(fmt::format("has no text where {} looks (its fields are {})", key, fields_of(row)));
    return text;
  }

  std::string key;
  ChatTemplate expression;
};

RecordMapping::RecordMapping(const std::string& question, const std::string& answer,
                             const std::string& source) {
  const std::string where = source.empty() ? "" : source + ": ";
  if (!question.empty()) question_ = std::make_shared<const Expression>(question, where + "data.question");
  if (!answer.empty()) answer_ = std::make_shared<const Expression>(answer, where + "data.answer");
}

Record read_record(const Json& row, const RecordMapping& mapping, GoldIs gold_is) {
  if (!row.is_object()) row.fail("is no object");
  Record record;
  if (!mapping.empty()) {
    record.format = "as [data] says";
    record.task = row.get_string_or("task", "math");
    const std::string_view question = first_of(row, kQuestions);
    if (mapping.question_ != nullptr) {
      record.question = mapping.question_->in(row);
    } else if (!question.empty()) {
      record.question = row.at(question).string();
    }
    if (mapping.answer_ == nullptr) {
      take_plain_answer(row, record);
    } else {
      record.answer = mapping.answer_->in(row);
      const bool is_object = verifier_name(record.task) != "math" && trim(record.answer).starts_with("{");
      record.gold = is_object ? parse_json(record.answer, row.source() + ": data.answer")
                              : Json(final_of(record.answer));
    }
    return record;
  }
  refuse_programs(row);
  if (read_share_gpt(row, record) || read_messages(row, record) || read_message_prompt(row, record)) {
    Json gold = given_gold(row);  // a gold beside the conversation takes precedence
    if (!gold.is_null()) record.gold = std::move(gold);
    return record;
  }
  if (read_alpaca(row, record)) {
    take_plain_answer(row, record);
    return record;
  }
  if (read_task(row, record)) return record;
  if (first_of(row, kQuestions).empty() && row.contains("text")) {
    record.format = "text";
    record.text = row.get_string("text");
    if (trim(record.text).empty()) row.at("text").fail("is empty");
    return record;
  }
  read_question(row, gold_is, record);
  return record;
}

std::string marked_answer(std::string_view text) {
  const size_t hashes = text.rfind("####");
  if (hashes != std::string_view::npos) {
    const std::string_view line = text.substr(hashes + 4);
    const std::string_view answer = trim(line.substr(0, line.find('\n')));
    if (!answer.empty()) return std::string(answer);
  }
  size_t box = std::string_view::npos, inside = 0;
  for (const std::string_view name : {"\\boxed{", "\\fbox{", "\\framebox{"}) {
    const size_t at = text.rfind(name);
    if (at == std::string_view::npos || (box != std::string_view::npos && at < box)) continue;
    box = at;
    inside = at + name.size();
  }
  if (box == std::string_view::npos) return "";
  int depth = 1;
  for (size_t at = inside; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;  // an escaped brace
    } else if (text[at] == '{') {
      ++depth;
    } else if (text[at] == '}' && --depth == 0) {
      return std::string(trim(text.substr(inside, at - inside)));
    }
  }
  return "";
}

Problem problem_of(const Record& record, int phrasing, GoldIs gold_is) {
  if (has_context(record.messages))
    throw Error("has a conversation of several messages; a problem is one question");
  Problem problem;
  if (verifier_name(record.task) == "countdown") {
    if (record.gold.is_null()) throw Error("needs numbers and target");
    problem = countdown_task(countdown_of(record.gold), phrasing);
    if (!record.question.empty()) problem.question = record.question;
  } else {
    if (!record.text.empty()) throw Error("is a plain document; a problem needs a question and an answer");
    if (trim(record.question).empty()) throw Error("has no question");
    const bool none =
        record.gold.is_null() || (record.gold.is_string() && trim(record.gold.string()).empty());
    if (none && gold_is == GoldIs::required) {
      throw Error(
          "has no final answer: its answer is long and has neither \"#### ...\" nor \\boxed{...}; name the "
          "final answer gold, or write answer under [data]");
    }
    problem.question = record.question;
    if (!none) problem.gold = record.gold.dump();
  }
  problem.task = record.task;
  return problem;
}

}  // namespace r1
