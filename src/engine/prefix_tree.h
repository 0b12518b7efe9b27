// engine/prefix_tree.h: remembers which full KV pages hold which tokens, so that a request can continue from
// the pages of an earlier one. Pure bookkeeping: no tensors, no model.
//
// A node is a page's worth of tokens (kKeyTile) after those of its parent. A path from a root names a prefix,
// and its keys and values are a function of (those tokens, weights, numerics) alone. So there is one root per
// weights version, numerics and owner, and a shared page changes no bit.
//
// Sequences that run pin the path whose pages they hold. What nobody pins stays until its page is needed:
// then the leaf that was used least recently goes first.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/batch.h"

namespace r1 {

struct PrefixKey {
  uint64_t weights = 0;  // version of the weights
  std::string numerics;
  std::string owner;
  auto operator<=>(const PrefixKey&) const = default;
};

class PrefixTree {
 public:
  using Tokens = std::array<int32_t, kKeyTile>;

  class Node {
   public:
    int64_t depth() const { return depth_; }  // pages from the root to here; 0: a root
    int32_t page() const { return page_; }    // -1: a root
    const Node* parent() const { return parent_; }

   private:
    friend class PrefixTree;
    Node* parent_ = nullptr;
    Tokens tokens_{};
    int64_t depth_ = 0;
    int32_t page_ = -1;
    int64_t users_ = 0;  // paths that are pinned and go through this node
    uint64_t tick_ = 0;  // when the last of them went
    std::map<Tokens, std::unique_ptr<Node>> children_;
  };

  PrefixTree() = default;
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  // Pins the longest known path of full pages that `tokens` begins with, at most `most_pages` long. Returns
  // its last node, which is the root if nothing is known.
  Node* pin(const PrefixKey& key, std::span<const int32_t> tokens, int64_t most_pages);
  // Pins a path that is pinned already for another user.
  void pin_again(Node* node);
  // Moves the end of a pinned path down by one page of tokens. Returns the child, or null if it is not known.
  Node* pin_child(Node* node, const Tokens& tokens);
  // The same, but adds the child if it is not known. Returns the child. Its page is `page` if it is
  // new; otherwise it is that of an earlier sequence, with the same contents.
  Node* extend(Node* node, std::span<const int32_t> tokens, int32_t page);
  void unpin(Node* node);

  int64_t pages() const { return nodes_; }     // known
  int64_t evictable() const { return idle_; }  // of these, pages that nobody pins
  // Forgets the least recently used leaf that nobody pins, and returns its page. Nothing: all are pinned.
  std::optional<int32_t> evict();

 private:
  void use(Node* node);     // one more user
  void let_go(Node* node);  // one user fewer

  std::map<PrefixKey, std::unique_ptr<Node>> roots_;
  std::map<uint64_t, Node*> idle_leaves_;  // by tick
  uint64_t clock_ = 0;
  int64_t nodes_ = 0, idle_ = 0;  // roots not counted
};

}  // namespace r1
