// recipe/schema_assets.h: the files of recipe/schema/, embedded by the build.
#pragma once

#include <string_view>

namespace r1::schema_assets {

std::string_view keys_json();
std::string_view files_json();
std::string_view rows_json();

}  // namespace r1::schema_assets
