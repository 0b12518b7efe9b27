#include "server/answer_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/hash.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_grammar.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/pattern.h"
#include "engine/grammar/program.h"
#include "engine/grammar/rules.h"
#include "server/api_error.h"

namespace r1 {
namespace {

using Kind = AnswerStructure::Kind;

std::string json_rules(std::string_view root) {
  return "root ::= " + std::string(root) + std::string(kJsonGrammar);
}

// A step of a JSON pointer as it was before ~ and / were escaped.
std::string unescaped(std::string_view step) {
  std::string out;
  for (size_t i = 0; i < step.size(); ++i) {
    const bool is_escape = step[i] == '~' && i + 1 < step.size();
    out += !is_escape ? step[i] : step[++i] == '0' ? '~' : '/';
  }
  return out;
}

// The path of what a schema's error is about: `field`, the error's place, and the keyword, if the error's
// reason names one that the schema has there.
std::string path_of(const std::string& field, const Json& schema, const SchemaError& error) {
  std::string path = field;
  const Json* at = &schema;
  const std::string& place = error.place();
  for (size_t begin = place.find('/'); begin < place.size();) {
    const size_t end = std::min(place.find('/', begin + 1), place.size());
    const std::string step = unescaped(std::string_view(place).substr(begin + 1, end - begin - 1));
    begin = end;
    if (at != nullptr && at->is_array()) {
      path += fmt::format("[{}]", step);
      const size_t index = std::strtoul(step.c_str(), nullptr, 10);
      at = index < at->size() ? &at->at(index) : nullptr;
    } else {
      path += "." + step;
      at = at != nullptr && at->is_object() ? at->find(step) : nullptr;
    }
  }
  if (at == nullptr || !at->is_object()) return path;
  std::string_view reason = error.reason();
  if (reason.starts_with("keyword ")) reason.remove_prefix(8);
  if (reason.starts_with('"')) reason = reason.substr(1, reason.find('"', 1) - 1);
  const std::string_view word = reason.substr(0, reason.find_first_of(" :"));
  return at->contains(word) ? path + "." + std::string(word) : path;
}

[[noreturn]] void refuse(const std::string& field, const std::string& reason) {
  throw ApiError(fmt::format("{}: {}", field, reason), {.param = field});
}

GrammarRules rules_of_schema(const Json& schema, const std::string& field) {
  try {
    return schema_rules(schema, field, {.exact = false});
  } catch (const SchemaError& error) {
    throw ApiError(error.what(), {.param = path_of(field, schema, error), .code = "unsupported_schema"});
  } catch (const GrammarTooLarge& error) {
    refuse(field, error.what());
  }
}

GrammarRules rules_of_content(const AnswerStructure& structure) {
  switch (structure.kind) {
    case Kind::json_schema:
      return rules_of_schema(structure.schema, structure.field);
    case Kind::gbnf:
    case Kind::regex:
      try {
        return structure.kind == Kind::gbnf ? parse_gbnf(structure.grammar, structure.field)
                                            : whole_pattern_rules(structure.grammar, structure.field);
      } catch (const Error& error) {
        throw ApiError(error.what(), {.param = structure.field});
      }
    case Kind::choice: {
      GrammarRules rules;
      const int32_t root = rules.add_rule("root");
      for (const std::string& text : structure.choices) rules.add_alternative(root, {rules.text(text)});
      return rules;
    }
    case Kind::json_object:
    case Kind::free:
      break;
  }
  return parse_gbnf(json_rules("object"), "json_object");
}

GrammarRules rules_of_arguments(const ToolFunction& function) {
  try {
    GrammarRules rules = rules_of_schema(function.parameters, function.field);
    if (function.is_strict) return rules;
    compile_rules(rules, function.field);  // throws if the schema has no value, or the like
    return rules;
  } catch (const Error& error) {
    if (function.is_strict) throw;
    return parse_gbnf(json_rules("object"), "json_object");
  }
}

// The calls, from the opening on.
GrammarItem calls_item(const ToolRequest& tools, const ToolSyntax& syntax, GrammarRules& rules) {
  const auto text = [&](const std::string& bytes, GrammarAlternative& parts) {
    if (!bytes.empty()) parts.push_back(rules.text(bytes));
  };
  std::vector<GrammarAlternative> kinds;
  for (const ToolFunction& function : tools.functions) {
    GrammarAlternative call;
    text(syntax.call_begin + function.name + syntax.name_end, call);
    call.push_back(rules.embed(rules_of_arguments(function)));
    text(syntax.call_end, call);
    kinds.push_back(std::move(call));
  }
  const GrammarItem call = rules.one_of_these(std::move(kinds), "call");
  GrammarAlternative parts;
  text(syntax.open, parts);
  parts.push_back(call);
  if (tools.parallel) {
    GrammarAlternative more;
    text(syntax.between, more);
    more.push_back(call);
    // A bound keeps a model that repeats itself from calling without an end.
    constexpr uint32_t kMostCalls = 128;
    parts.push_back(rules.repeat(rules.one_of_these({std::move(more)}, "further call"), 0, kMostCalls - 1,
                                 "further calls"));
  }
  text(syntax.close, parts);
  return rules.one_of_these({std::move(parts)}, "calls");
}

AnswerGrammar compile(const AnswerStructure& structure, const ToolRequest& tools, const ToolSyntax& syntax,
                      std::shared_ptr<const TokenVocabulary> vocabulary) {
  const std::string field = structure.kind != Kind::free ? structure.field : "tools";
  try {
    const auto grammar = Grammar::from_rules(answer_rules(structure, tools, syntax), field);
    AnswerGrammar out{.masks = std::make_shared<const TokenMasks>(grammar, std::move(vocabulary)),
                      .shortest = shortest_text(*grammar),
                      .enough = {}};
    out.masks->mask(GrammarState(grammar));  // the first one, before the model waits for it
    if (out.shortest.text) out.enough = tokens_enough(out.masks->vocabulary(), *out.shortest.text);
    const bool is_free = structure.kind == Kind::free;
    const bool is_text =
        structure.kind == Kind::gbnf || structure.kind == Kind::choice || structure.kind == Kind::regex;
    out.what = tools.choice == ToolRequest::Choice::required ? AnswerGrammar::What::call
               : is_free                                     ? AnswerGrammar::What::free
               : is_text                                     ? AnswerGrammar::What::text
                                                             : AnswerGrammar::What::json;
    return out;
  } catch (const ApiError&) {
    throw;
  } catch (const NoText&) {
    refuse(field, "no answer fulfils it");
  } catch (const Error& error) {
    throw ApiError(error.what(), {.param = field});
  }
}

}  // namespace

GrammarRules answer_rules(const AnswerStructure& structure, const ToolRequest& tools,
                          const ToolSyntax& syntax) {
  if (!tools.may_call()) return rules_of_content(structure);
  GrammarRules rules;
  const int32_t root = rules.add_rule("root");
  const GrammarItem calls = calls_item(tools, syntax, rules);
  if (tools.choice == ToolRequest::Choice::required) {
    rules.add_alternative(root, {calls});
  } else if (structure.kind != Kind::free) {
    rules.add_alternative(root, {rules.embed(rules_of_content(structure))});
    rules.add_alternative(root, {calls});
  } else {
    const GrammarItem text = rules.scan(bytes_without(syntax.marker));
    rules.add_alternative(root, {text});
    rules.add_alternative(root, {text, calls});
  }
  return rules;
}

std::string AnswerGrammars::key_of(const AnswerStructure& structure, const ToolRequest& tools,
                                   const ToolSyntax& syntax) {
  Json key = Json::array();
  key.push_back(static_cast<int>(structure.kind)).push_back(structure.schema).push_back(structure.grammar);
  // A refusal names the field.
  key.push_back(Json::array_of(structure.choices)).push_back(structure.field);
  if (tools.may_call()) {
    key.push_back(static_cast<int>(tools.choice)).push_back(tools.parallel).push_back(syntax.call_begin);
    for (const ToolFunction& function : tools.functions)
      key.push_back(function.name)
          .push_back(function.parameters)
          .push_back(function.is_strict)
          .push_back(function.field);
  }
  return sha256_hex(key.dump());
}

std::shared_ptr<const TokenVocabulary> AnswerGrammars::vocabulary() {
  {
    const std::lock_guard lock(mutex_);
    if (vocabulary_ != nullptr) return vocabulary_;
  }
  const std::shared_ptr<const TokenVocabulary> made = TokenVocabulary::of(tokenizer_, vocab_size_);
  const std::lock_guard lock(mutex_);
  if (vocabulary_ == nullptr) vocabulary_ = made;
  return vocabulary_;
}

AnswerGrammars::Shared AnswerGrammars::find(const std::string& key) {
  std::exception_ptr refusal;
  {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find(entries_, key, &Entry::key);
    if (at == entries_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, at);
    if (at->refusal == nullptr) return at->grammar;
    refusal = at->refusal;
  }
  std::rethrow_exception(refusal);
}

void AnswerGrammars::keep(Entry entry) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const Entry& other) { return other.key == entry.key; });
  entries_.push_front(std::move(entry));
  size_t bytes = 0, kept = 0;
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (at->grammar != nullptr) bytes += at->grammar->masks->bytes();
    const bool stays = kept == 0 || (kept < kMost && bytes <= kMostBytes);
    at = stays ? std::next(at) : entries_.erase(at);
    ++kept;
  }
}

AnswerGrammars::Shared AnswerGrammars::make(const std::string& key, const AnswerStructure& structure,
                                            const ToolRequest& tools, const ToolSyntax& syntax) {
  if (Shared known = find(key)) return known;
  try {
    auto made = std::make_shared<const AnswerGrammar>(compile(structure, tools, syntax, vocabulary()));
    keep({.key = key, .grammar = made, .refusal = {}});
    return made;
  } catch (const ApiError&) {
    keep({.key = key, .grammar = {}, .refusal = std::current_exception()});
    throw;
  }
}

}  // namespace r1
