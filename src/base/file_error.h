// base/file_error.h: how a failed call on a file becomes an Error.
#pragma once

#include <filesystem>
#include <string_view>

namespace r1 {

// Throws Error "PATH: DOING failed: REASON", with errno's reason. A full device has a message of its own.
[[noreturn]] void fail_with_errno(const std::filesystem::path& path, std::string_view doing);

}  // namespace r1
