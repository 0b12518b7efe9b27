#include "engine/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace r1 {
namespace {

PrefixTree::Tokens page_of(std::span<const int32_t> tokens) {
  R1_CHECK(std::ssize(tokens) == kKeyTile, tokens.size(), " tokens are no full page");
  PrefixTree::Tokens page;
  std::ranges::copy(tokens, page.begin());
  return page;
}

}  // namespace

// A path may be long, so nodes are not destroyed by recursion.
PrefixTree::~PrefixTree() {
  std::vector<std::unique_ptr<Node>> left;
  for (auto& [key, root] : roots_) left.push_back(std::move(root));
  while (!left.empty()) {
    const std::unique_ptr<Node> node = std::move(left.back());
    left.pop_back();
    for (auto& [tokens, child] : node->children_) left.push_back(std::move(child));
  }
}

void PrefixTree::use(Node* node) {
  if (node->users_++ > 0 || node->depth_ == 0) return;
  --idle_;
  if (node->children_.empty()) idle_leaves_.erase(node->tick_);
}

void PrefixTree::let_go(Node* node) {
  R1_CHECK(node->users_ > 0, "a node at depth ", node->depth_, " is not pinned");
  if (--node->users_ > 0 || node->depth_ == 0) return;
  ++idle_;
  node->tick_ = ++clock_;
  if (node->children_.empty()) idle_leaves_.emplace(node->tick_, node);
}

PrefixTree::Node* PrefixTree::pin(const PrefixKey& key, std::span<const int32_t> tokens, int64_t most_pages) {
  std::unique_ptr<Node>& root = roots_[key];
  if (root == nullptr) root = std::make_unique<Node>();
  Node* node = root.get();
  use(node);
  for (int64_t page = 0; page < most_pages && std::ssize(tokens) >= (page + 1) * kKeyTile; ++page) {
    Node* const child =
        pin_child(node, page_of(tokens.subspan(static_cast<size_t>(page * kKeyTile), kKeyTile)));
    if (child == nullptr) break;
    node = child;
  }
  return node;
}

void PrefixTree::pin_again(Node* node) {
  for (; node != nullptr; node = node->parent_) use(node);
}

PrefixTree::Node* PrefixTree::pin_child(Node* node, const Tokens& tokens) {
  const auto child = node->children_.find(tokens);
  if (child == node->children_.end()) return nullptr;
  use(child->second.get());
  return child->second.get();
}

PrefixTree::Node* PrefixTree::extend(Node* node, std::span<const int32_t> tokens, int32_t page) {
  R1_CHECK(node->users_ > 0, "a path is extended that nobody pins");
  std::unique_ptr<Node>& child = node->children_[page_of(tokens)];
  if (child != nullptr) {
    use(child.get());
    return child.get();
  }
  child = std::make_unique<Node>();
  child->parent_ = node;
  child->tokens_ = page_of(tokens);
  child->depth_ = node->depth_ + 1;
  child->page_ = page;
  child->users_ = 1;
  ++nodes_;
  return child.get();
}

void PrefixTree::unpin(Node* node) {
  while (node != nullptr) {
    Node* const parent = node->parent_;
    let_go(node);
    if (parent == nullptr && node->users_ == 0 && node->children_.empty())
      std::erase_if(roots_, [node](const auto& entry) { return entry.second.get() == node; });
    node = parent;
  }
}

std::optional<int32_t> PrefixTree::evict() {
  if (idle_leaves_.empty()) return std::nullopt;
  Node* const leaf = idle_leaves_.begin()->second;
  idle_leaves_.erase(idle_leaves_.begin());
  const int32_t page = leaf->page_;
  Node* const parent = leaf->parent_;
  --nodes_;
  --idle_;
  parent->children_.erase(Tokens(leaf->tokens_));
  if (parent->users_ == 0 && parent->children_.empty()) {
    if (parent->depth_ > 0) {
      idle_leaves_.emplace(parent->tick_, parent);
    } else {
      std::erase_if(roots_, [parent](const auto& entry) { return entry.second.get() == parent; });
    }
  }
  return page;
}

}  // namespace r1
