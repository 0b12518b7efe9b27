// model/uniform_source.h: a source that has every tensor that is asked for, in a given format and at one place for
// each format.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/integers.h"
#include "formats/weight_source.h"
#include "model/weight_formats.h"
#include "tensor/fp8.h"

namespace r1 {

class UniformSource final : public WeightSource {
 public:
  using OwnerOf = std::function<std::shared_ptr<const StoredBytes>(Format)>;
  UniformSource(WeightFormats formats, OwnerOf owner_of)
      : formats_(std::move(formats)), owner_of_(std::move(owner_of)) {}
  const std::vector<std::string>& names() const override { return names_; }
  void alias(std::string_view, std::string_view) override {}
  void check(const std::string&, const Shape&, const FieldOf&) const override {}
  Stored take(const std::string& name, const Shape& shape) const override {
    Stored stored;
    stored.name = name;
    stored.format = formats_.of(name);
    stored.shape = shape;
    stored.owner = owner_of_(stored.format);
    if (stored.format != Format::f8_e4m3) return stored;
    const auto scales = std::make_shared<Stored>();
    scales->name = name + "_scale_inv";
    scales->shape = {ceil_div(shape[0], kFp8Block), ceil_div(shape[1], kFp8Block)};
    scales->owner = owner_of_(Format::f32);
    stored.scales = scales;
    return stored;
  }
  std::vector<std::string> unread() const override { return {}; }
  std::string file_of(std::string_view) const override { return {}; }

 private:
  WeightFormats formats_;
  std::vector<std::string> names_;
  OwnerOf owner_of_;
};

}  // namespace r1
