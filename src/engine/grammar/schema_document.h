// engine/grammar/schema_document.h: the subschemas of a JSON Schema, and where $ref leads.
//
// References are resolved inside the document: by JSON pointer, by $anchor, by $id. Nothing is fetched. A
// $dynamicRef is a $ref, unless its $dynamicAnchor occurs in several resources of the document.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace r1 {

class SchemaDocument {
 public:
  // `root` must outlive the document. Throws Error.
  SchemaDocument(const Json& root, std::string source);

  // Nodes are subschemas. Node 0 is the root.
  int32_t node_of(const Json& schema, const std::string& place);
  const Json& json(int32_t node) const { return *nodes_[static_cast<size_t>(node)].json; }
  // Where it is: "/properties/x"; "" for the root.
  const std::string& place(int32_t node) const { return nodes_[static_cast<size_t>(node)].place; }
  // A schema that the document does not have. Equal texts are the same node.
  int32_t made_node(const Json& schema, const std::string& place);
  // The node that $ref (or $dynamicRef) of `node` leads to.
  int32_t target(int32_t node, const std::string& reference, bool dynamic);

  // Throws SchemaError.
  [[noreturn]] void fail(int32_t node, const std::string& reason) const;

 private:
  struct Node {
    const Json* json = nullptr;
    std::string place;
  };
  void visit(const Json& schema, const std::string& place, std::string base, int depth);
  void visit_child(const Json& child, const std::string& place, const std::string& base, int depth);

  std::string source_;
  std::vector<Node> nodes_;
  std::map<const Json*, int32_t> numbers_;
  std::map<const Json*, std::string> bases_;      // of each visited subschema
  std::map<std::string, const Json*> resources_;  // by URI
  std::map<std::string, const Json*> anchors_;    // by URI#name
  std::map<std::string, int> dynamic_anchors_;    // how many resources have one of the name
  std::map<const Json*, std::string> places_;
  std::deque<Json> made_;
  std::map<std::string, int32_t> made_numbers_;
};

}  // namespace r1
