#include "recipe/training_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "formats/jsonl.h"
#include "formats/shown.h"
#include "formats/text_stream.h"
#include "text/utf8.h"

namespace r1 {
namespace {

bool is_text_file(std::string_view path) {
  return path.ends_with(".txt") || path.ends_with(".txt.gz");
}

bool is_empty(const Json& value) {
  return value.is_null() || (value.is_string() && value.string().empty()) ||
         ((value.is_array() || value.is_object()) && value.size() == 0);
}

Json without(const Json& row, const std::vector<std::string>& left_out) {
  Json out = Json::object();
  for (const auto& [name, value] : row.members()) {
    if (std::ranges::find(left_out, name) == left_out.end()) out.set(name, value);
  }
  return out;
}

const Json* text_field(const Json& row, const char* name) {
  const Json* value = row.find(name);
  return value != nullptr && value->is_string() ? value : nullptr;
}

// Reads a row of a data set whose answers are programs. Returns false if it is another row.
bool read_program(const Json& row, Record& record) {
  struct Form {
    const char *format, *question, *answer, *tests;
  };
  constexpr std::array<Form, 2> kForms = {
      {{"HumanEval", "prompt", "canonical_solution", "test"}, {"MBPP", "text", "code", "test_list"}}};
  for (const Form& form : kForms) {
    const Json *question = text_field(row, form.question), *answer = text_field(row, form.answer);
    if (question == nullptr || answer == nullptr || !row.contains(form.tests)) continue;
    record.format = form.format;
    record.question = question->string();
    record.answer = answer->string();
    return true;
  }
  return false;
}

Record record_of(const Json& row, const RecordMapping& mapping) {
  Record record;
  if (mapping.empty() && row.is_object() && read_program(row, record)) return record;
  const bool has_task = row.is_object() && row.contains("task");
  return read_record(has_task ? without(row, {"task"}) : row, mapping);
}

bool is_same(const Record& a, const Record& b) {
  return a.question == b.question && a.answer == b.answer && a.messages == b.messages && a.tools == b.tools &&
         a.text == b.text;
}

// Columns of a file that no row uses.
class Columns {
 public:
  void look(const Json& row, const Record& record, const RecordMapping& mapping) {
    if (!row.is_object()) return;
    for (const auto& [name, value] : row.members()) {
      const bool is_known =
          std::ranges::find(used_, name) != used_.end() || std::ranges::find(unused_, name) != unused_.end();
      if (is_known || is_empty(value) || unused_.size() == kMost) continue;
      (is_used(row, name, record, mapping) ? used_ : unused_).push_back(name);
    }
  }

  std::string line(const std::string& file) const {
    std::string names;
    for (const std::string& name : unused_) names += (names.empty() ? "" : ", ") + shown(name);
    if (unused_.empty()) return "";
    return unused_.size() == 1 ? fmt::format("{}: column {} is not used", file, names)
                               : fmt::format("{}: columns {} are not used", file, names);
  }

 private:
  static constexpr size_t kMost = 30;

  // Returns true if the row without this column gives another record or none. The known unused columns are
  // removed too, so that one of two columns with the same text counts as used.
  bool is_used(const Json& row, const std::string& name, const Record& record,
               const RecordMapping& mapping) const {
    if (name == "documents" || name == "chat_template_kwargs") return true;  // recipe/sft_document.h
    std::vector<std::string> left_out = unused_;
    left_out.push_back(name);
    try {
      return !is_same(record_of(without(row, left_out), mapping), record);
    } catch (const Error&) {
      return true;
    }
  }

  std::vector<std::string> used_, unused_;
};

// Counts of what was done with a file's rows.
struct Account {
  int64_t rows = 0, used = 0, refused = 0, duplicates = 0, other_side = 0;
  bool is_whole = true;  // `use` has not stopped the reading
  std::string first_refusal;
  struct Long {
    int64_t rows = 0;
    std::string first;
  };
  std::map<std::string, Long> too_long;    // limit -> rows that exceed it
  std::map<std::string, int64_t> formats;  // format -> number of used rows
  Columns columns;

  void refuse(const std::string& what) {
    if (refused++ == 0) first_refusal = what;
  }
  void refuse(const std::string& what, const std::string& limit) {
    Long& rows_of_limit = too_long[limit];
    if (rows_of_limit.rows++ == 0) rows_of_limit.first = what;
  }
  std::string first() const {
    if (!first_refusal.empty() || too_long.empty()) return first_refusal;
    return too_long.begin()->second.first;
  }
  void write(const DataFiles& data, const std::string& file,
             const std::function<void(const std::string&)>& note) const;
};

void Account::write(const DataFiles& data, const std::string& file,
                    const std::function<void(const std::string&)>& note) const {
  if (used > 0 && is_whole && !data.is_own) {
    std::string names;
    for (const auto& [format, count] : formats) names += (names.empty() ? "" : ", ") + format;
    std::string line = fmt::format("{}: {} of {} rows are used ({})", file, used, rows, names);
    if (duplicates > 0) line += fmt::format("; {} repeat an earlier row", duplicates);
    if (other_side > 0) line += fmt::format("; {} are on the other side of data.split", other_side);
    note(line);
  }
  if (refused > 0)
    note(fmt::format("{} of {} rows cannot be used and are left out; the first: {}", refused, rows,
                     first_refusal));
  for (const auto& [limit, longer] : too_long)
    note(fmt::format("{} of {} rows are longer than {} and are left out; the first: {}", longer.rows, rows,
                     limit, longer.first));
  const std::string unused = columns.line(file);
  if (!unused.empty() && is_whole && !data.is_own) note(unused);
}

std::string repeated_content(const Record& record) {
  if (!record.text.empty()) return record.text;
  if (!record.messages.is_null()) return record.messages.dump() + record.tools.dump();
  return record.question + "\n" + record.answer;
}

// Reads the rows of all files. Keeps the state that the files share.
class Reading {
 public:
  Reading(const DataFiles& data, const std::function<bool(const TrainingRow&)>& use,
          const std::function<void(const std::string&)>& note)
      : data_(data), use_(use), note_(note), chooser_(data.selection) {}

  void file(const std::string& path) {
    Account account;
    if (is_text_file(path)) {
      read_text(path, account);
    } else {
      JsonlReader reader(path);
      for (JsonlRow row; !is_done() && reader.next(row);) {
        ++account.rows;
        if (!row.error.empty()) {
          account.refuse(row.error);
          continue;
        }
        take(path, row.line, row.value, account, [&] { return record_of(row.value, data_.mapping); });
      }
    }
    account.is_whole = !stopped_;
    if (account.used > 0 || is_done()) {
      if (note_) account.write(data_, path, note_);
      return;
    }
    const std::string first = account.first();
    if (!first.empty())
      throw Error(account.rows == 1 ? first : first + " (and no other row of the file can be used)");
    throw Error(account.rows == 0
                    ? path + ": holds no row to train on"
                    : fmt::format("{}: none of its {} rows is used: {} repeat an earlier one, {} are on the "
                                  "other side of data.split",
                                  path, account.rows, account.duplicates, account.other_side));
  }

  bool is_done() const { return stopped_ || (data_.selection.limit > 0 && used_ == data_.selection.limit); }

 private:
  void read_text(const std::string& path, Account& account) {
    TextStream stream(path);
    while (stream.more()) {
    }
    const std::string_view text = stream.rest();
    ++account.rows;
    take(path, 0, Json::object(), account, [&] {
      if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) throw Error("is empty");
      if (!is_valid_utf8(text)) throw Error("is not UTF-8 text");
      Record record;
      record.format = "text file";
      record.text = text;
      return record;
    });
  }

  template <class Read>
  void take(const std::string& path, int64_t line, const Json& row, Account& account, const Read& read) {
    const std::string where = line > 0 ? fmt::format("{}:{}", path, line) : path;
    const auto named = [&](const std::string& what) {
      return what.starts_with(where + ":") ? what : where + ": " + what;
    };
    try {
      const Record record = read();
      const std::string content = repeated_content(record);
      const RowChooser::Choice choice =
          chooser_.choose(record.question.empty() ? content : record.question, content);
      account.duplicates += choice == RowChooser::Choice::duplicate ? 1 : 0;
      account.other_side += choice == RowChooser::Choice::other_side ? 1 : 0;
      if (choice != RowChooser::Choice::use) return;
      stopped_ = !use_({path, line, row, record});
      account.columns.look(row, record, data_.mapping);
      ++account.used;
      ++account.formats[record.format];
      ++used_;
    } catch (const TooLong& e) {
      account.refuse(named(e.what()), e.limit());
    } catch (const Error& e) {
      account.refuse(named(e.what()));
    }
  }

  const DataFiles& data_;
  const std::function<bool(const TrainingRow&)>& use_;
  const std::function<void(const std::string&)>& note_;
  RowChooser chooser_;
  int64_t used_ = 0;
  bool stopped_ = false;
};

}  // namespace

std::string TrainingRow::where() const {
  return line > 0 ? fmt::format("{}:{}", file, line) : file;
}

DataFiles read_data_files(ConfigFile& file) {
  DataFiles data;
  for (const std::string& name : file.texts_or("data.files", {}))
    data.files.push_back(file.beside(name, "data.files").string());
  const std::string question = file.text_or("data.question", ""), answer = file.text_or("data.answer", "");
  data.mapping = RecordMapping(question, answer, file.source());
  data.selection = read_row_selection(file);
  data.shuffle = file.boolean_or("data.shuffle", data.shuffle);
  if (!data.files.empty()) return data;
  for (const char* key : {"data.question", "data.answer", "data.split", "data.held_out", "data.limit",
                          "data.shuffle", "data.deduplicate"}) {
    if (file.has(key)) file.fail(key, "is for data.files, which is missing");
  }
  return data;
}

void read_training_rows(const DataFiles& data, const std::function<bool(const TrainingRow&)>& use,
                        const std::function<void(const std::string&)>& note) {
  Reading reading(data, use, note);
  for (const std::string& path : data.files) {
    if (reading.is_done()) return;
    reading.file(path);
  }
}

}  // namespace r1
