#include "engine/grammar/schema_document.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/grammar/schema_error.h"

namespace r1 {
namespace {

// Keywords whose values are a schema, a list of schemas, or schemas by name.
constexpr std::string_view kOneSchema[] = {"additionalProperties",
                                           "contains",
                                           "else",
                                           "if",
                                           "items",
                                           "not",
                                           "propertyNames",
                                           "then",
                                           "unevaluatedItems",
                                           "unevaluatedProperties",
                                           "contentSchema"};
constexpr std::string_view kSchemaLists[] = {"allOf", "anyOf", "oneOf", "prefixItems", "items"};
constexpr std::string_view kSchemaMaps[] = {"$defs", "definitions", "dependentSchemas", "patternProperties",
                                            "properties"};

std::string pointer_token(std::string_view name) {
  std::string token;
  for (const char c : name) {
    if (c == '~')
      token += "~0";
    else if (c == '/')
      token += "~1";
    else
      token += c;
  }
  return token;
}

// Resolves a reference without a fragment against a base URI (RFC 3986, 5.2, for hierarchical URIs).
std::string resolve_uri(const std::string& base, const std::string& reference) {
  if (reference.empty()) return base;
  const size_t colon = reference.find(':');
  if (colon != std::string::npos && reference.find_first_of("/?") > colon) return reference;
  const size_t authority = base.find("://");
  const size_t path = authority == std::string::npos ? base.find(':') + 1
                                                     : std::min(base.find('/', authority + 3), base.size());
  const std::string root = base.substr(0, path);
  if (reference.starts_with("//")) return base.substr(0, base.find(':') + 1) + reference;
  std::string joined = reference;
  if (!reference.starts_with('/')) {
    const size_t slash = base.rfind('/');
    joined =
        (slash == std::string::npos || slash < path ? "/" : base.substr(path, slash + 1 - path)) + reference;
    if (root.empty() && joined.starts_with('/') && !base.starts_with('/')) joined.erase(0, 1);
  }
  std::vector<std::string> parts;
  size_t at = 0;
  for (;;) {
    const size_t slash = joined.find('/', at);
    const std::string part = joined.substr(at, slash == std::string::npos ? slash : slash - at);
    if (part == "..") {
      if (parts.size() > 1) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
    if (slash == std::string::npos) break;
    at = slash + 1;
  }
  std::string out = root;
  for (size_t i = 0; i < parts.size(); ++i) out += (i > 0 ? "/" : "") + parts[i];
  return out;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::sscanf(std::string(text.substr(i + 1, 2)).c_str(), "%2x", &value) == 1) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

SchemaDocument::SchemaDocument(const Json& root, std::string source) : source_(std::move(source)) {
  resources_[""] = &root;
  visit(root, "", "", 0);
  node_of(root, "");
}

void SchemaDocument::fail(int32_t node, const std::string& reason) const {
  const std::string& where = place(node);
  throw SchemaError(fmt::format("{}: schema {}: {}", source_, where.empty() ? "/" : where, reason), where,
                    reason);
}

void SchemaDocument::visit_child(const Json& child, const std::string& place, const std::string& base,
                                 int depth) {
  if (child.is_object() || child.is_bool()) visit(child, place, base, depth + 1);
}

void SchemaDocument::visit(const Json& schema, const std::string& place, std::string base, int depth) {
  places_[&schema] = place;
  if (schema.is_object()) {
    if (const Json* id = schema.find("$id"); id != nullptr && id->is_string()) {
      std::string uri = id->string();
      uri.erase(std::min(uri.find('#'), uri.size()));
      base = resolve_uri(base, uri);
      resources_[base] = &schema;
    }
    for (const char* keyword : {"$anchor", "$dynamicAnchor"}) {
      const Json* anchor = schema.find(keyword);
      if (anchor == nullptr || !anchor->is_string()) continue;
      anchors_[base + "#" + anchor->string()] = &schema;
      if (std::string_view(keyword) == "$dynamicAnchor") ++dynamic_anchors_[anchor->string()];
    }
  }
  bases_[&schema] = base;
  if (!schema.is_object()) return;
  for (const auto& [key, value] : schema.members()) {
    const std::string at = place + "/" + pointer_token(key);
    if (value.is_array() && std::ranges::find(kSchemaLists, key) != std::end(kSchemaLists)) {
      for (size_t i = 0; i < value.size(); ++i)
        visit_child(value.at(i), fmt::format("{}/{}", at, i), base, depth);
    } else if (value.is_object() && std::ranges::find(kSchemaMaps, key) != std::end(kSchemaMaps)) {
      for (const auto& [name, child] : value.members())
        visit_child(child, at + "/" + pointer_token(name), base, depth);
    } else if (std::ranges::find(kOneSchema, key) != std::end(kOneSchema)) {
      visit_child(value, at, base, depth);
    }
  }
}

int32_t SchemaDocument::node_of(const Json& schema, const std::string& place) {
  const auto [at, is_new] = numbers_.emplace(&schema, static_cast<int32_t>(nodes_.size()));
  if (is_new) nodes_.push_back({&schema, place});
  return at->second;
}

int32_t SchemaDocument::made_node(const Json& schema, const std::string& place) {
  const std::string text = schema.dump();
  const auto at = made_numbers_.find(text);
  if (at != made_numbers_.end()) return at->second;
  made_.push_back(schema);
  return made_numbers_[text] = node_of(made_.back(), place);
}

int32_t SchemaDocument::target(int32_t node, const std::string& reference, bool dynamic) {
  const size_t hash = std::min(reference.find('#'), reference.size());
  const auto own = bases_.find(&json(node));
  const std::string uri = resolve_uri(own == bases_.end() ? "" : own->second, reference.substr(0, hash));
  const std::string fragment =
      hash < reference.size() ? percent_decoded(std::string_view(reference).substr(hash + 1)) : "";
  const auto resource = resources_.find(uri);
  if (resource == resources_.end())
    fail(node, fmt::format("\"$ref\": \"{}\" is not in this document; nothing is fetched", reference));
  const Json* at = resource->second;
  if (!fragment.empty() && fragment[0] != '/') {
    const auto anchor = anchors_.find(uri + "#" + fragment);
    if (anchor == anchors_.end()) fail(node, fmt::format("\"$ref\": \"{}\" leads to no $anchor", reference));
    if (dynamic && dynamic_anchors_[fragment] > 1)
      fail(node,
           fmt::format(
               "keyword \"$dynamicRef\" is not supported if several resources have $dynamicAnchor \"{}\"",
               fragment));
    return node_of(*anchor->second, places_[anchor->second]);
  }
  std::string place = places_[at];
  for (size_t begin = 0; begin < fragment.size();) {
    const size_t end = std::min(fragment.find('/', begin + 1), fragment.size());
    std::string token;
    for (size_t i = begin + 1; i < end; ++i) {
      if (fragment[i] == '~' && i + 1 < end) {
        token += fragment[++i] == '1' ? '/' : '~';
      } else {
        token += fragment[i];
      }
    }
    const Json* next = nullptr;
    if (at->is_object()) {
      next = at->find(token);
    } else if (at->is_array() && !token.empty() && token.size() < 9 &&
               std::ranges::all_of(token, [](char c) { return c >= '0' && c <= '9'; })) {
      const size_t index = std::stoul(token);
      if (index < at->size()) next = &at->at(index);
    }
    if (next == nullptr) fail(node, fmt::format("\"$ref\": \"{}\" leads nowhere", reference));
    at = next;
    place += "/" + pointer_token(token);
    begin = end;
  }
  if (!at->is_object() && !at->is_bool())
    fail(node, fmt::format("\"$ref\": \"{}\" leads to no schema", reference));
  return node_of(*at, place);
}

}  // namespace r1
