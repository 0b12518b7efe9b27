// model/uniform_source.h: a source that has every tensor that is asked for, in one format and at one place.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/weight_source.h"

namespace r1 {

class UniformSource final : public WeightSource {
 public:
  UniformSource(DType dtype, std::shared_ptr<const StoredBytes> owner)
      : format_(dtype == DType::bf16 ? Format::bf16 : Format::f32), owner_(std::move(owner)) {}
  const std::vector<std::string>& names() const override { return names_; }
  void alias(std::string_view, std::string_view) override {}
  void check(const std::string&, const Shape&, const FieldOf&) const override {}
  Stored take(const std::string& name, const Shape& shape) const override {
    Stored stored;
    stored.name = name;
    stored.format = format_;
    stored.shape = shape;
    stored.owner = owner_;
    return stored;
  }
  std::vector<std::string> unread() const override { return {}; }
  std::string file_of(std::string_view) const override { return {}; }

 private:
  Format format_;
  std::vector<std::string> names_;
  std::shared_ptr<const StoredBytes> owner_;
};

}  // namespace r1
