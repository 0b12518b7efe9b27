// Shared by the text tests: the locations of fixtures and shared data.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/json.h"

namespace r1 {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(R1_SOURCE_DIR) / "tests" / "golden" / "text" / name;
}

inline std::filesystem::path shared_data(const std::string& name) {
  const char* root = std::getenv("R1_TEST_DATA");
  const std::filesystem::path folder = root != nullptr ? root : R1_SOURCE_DIR "/../shared/data";
  return folder / name;
}

#define R1_NEEDS(path)                \
  if (!std::filesystem::exists(path)) \
  GTEST_SKIP() << "SKIPPED: " << (path) << " is missing (set R1_TEST_DATA)"

inline std::vector<int32_t> to_ids(const Json& array) {
  std::vector<int32_t> ids;
  for (const Json& id : array.items()) ids.push_back(static_cast<int32_t>(id.integer()));
  return ids;
}

}  // namespace r1
