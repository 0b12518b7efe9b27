// server/page_assets.h: the files that the build embeds for the page: those of server/page/, and KaTeX.
#pragma once

#include <span>
#include <string_view>

namespace r1::page_assets {

struct PageFile {
  std::string_view name;  // "chat.js", "fonts/KaTeX_Main-Regular.woff2"
  std::string_view bytes;
};

std::span<const PageFile> all();

}  // namespace r1::page_assets
