// formats/weight_source.h: where a model's weights come from: a Hugging Face directory (hf_directory.h), and
// other containers of the same tensors.
//
// A source lists tensors by their checkpoint names and hands out where each is stored. Nothing is read before
// it is asked for. What it has handed out keeps the files open, also when the source is gone.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/stored.h"

namespace r1 {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const std::vector<std::string>& names() const = 0;  // sorted
  // If there is no tensor `name`, that name stands for the tensor `other`, if there is one. `name` outlives
  // this.
  virtual void alias(std::string_view name, std::string_view other) = 0;

  // Throws Error if the tensor is missing or has another shape, before any of its data is read. `field`
  // returns the settings that ask for a dimension of that size, for the message: "hidden_size = 64"; "":
  // none.
  using FieldOf = std::function<std::string(int64_t size)>;
  virtual void check(const std::string& name, const Shape& expected, const FieldOf& field) const = 0;

  // Returns where a tensor is stored. Throws Error if it is missing (with the nearest name), has another
  // shape, or holds no floating-point numbers. Safe from many threads.
  virtual Stored take(const std::string& name, const Shape& expected) const = 0;

  virtual std::vector<std::string> unread() const = 0;  // sorted names that were neither taken nor read
  virtual std::string file_of(std::string_view name) const = 0;  // path of the file that holds it
};

}  // namespace r1
