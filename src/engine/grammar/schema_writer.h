// engine/grammar/schema_writer.h: writes the demands of a JSON Schema as grammar rules. Private to this folder.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "engine/grammar/rules.h"
#include "engine/grammar/schema_terms.h"

namespace r1 {

// One rule for each conjunction of literals.
class SchemaWriter {
 public:
  SchemaWriter(SchemaDocument& document, SchemaReading reading);
  GrammarRules write();

 private:
  struct ArrayState;
  struct ArrayShape;
  struct ObjectState;
  struct ObjectShape;

  GrammarItem value_of(SchemaGoal goal);
  void write_branch(int32_t rule, const SchemaDemands& branch);
  GrammarAlternative string_of(const SchemaDemands& branch);
  GrammarAlternative number_of(const SchemaDemands& branch);

  // schema_arrays.cc
  void write_array(int32_t rule, const SchemaDemands& branch);
  SchemaGoal goal_of_item(const SchemaDemands& branch, int64_t index);
  int32_t array_rest(ArrayShape& shape, const ArrayState& state);
  void write_array_state(ArrayShape& shape, const ArrayState& state, int32_t rule);

  // schema_objects.cc
  void write_object(int32_t rule, const SchemaDemands& branch);
  bool find_names(ObjectShape& shape);
  void find_classes(ObjectShape& shape);
  SchemaGoal goal_of_name(const SchemaDemands& branch, const std::vector<bool>& matched,
                          const std::string* name);
  int32_t object_rest(ObjectShape& shape, const ObjectState& state);
  void write_object_state(ObjectShape& shape, const ObjectState& state, int32_t rule);
  void write_member(ObjectShape& shape, const ObjectState& state, int32_t rule, size_t next,
                    const GrammarItem& key, const SchemaGoal& goal, const std::vector<bool>& some);

  GrammarItem named(const std::string& rule) const;
  const GrammarItem& space() const { return space_; }
  void count_states();
  [[noreturn]] void fail(const std::string& reason) const;

  SchemaDocument& document_;
  SchemaReading reading_;
  SchemaTerms terms_;
  GrammarRules rules_;
  std::map<SchemaGoal, int32_t> goals_;
  std::deque<std::pair<SchemaGoal, int32_t>> work_;
  GrammarItem space_;   // one, or none
  SchemaGoal current_;  // whose rule is written
  size_t states_ = 0;
};

}  // namespace r1
