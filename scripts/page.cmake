# Embeds the page of r1 serve: the files of src/server/page, and KaTeX if the machine has it. Each file becomes a source
# file, and a table lists them (server/page_assets.h).
set(R1_KATEX /usr/share/javascript/katex CACHE PATH "KaTeX's katex.js and katex.min.css (Debian's libjs-katex)")
set(R1_KATEX_FONTS /usr/share/fonts/truetype/katex CACHE PATH "KaTeX's woff2 fonts (Debian's fonts-katex)")

set(page_inputs)
set(page_names)
file(GLOB page_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/server/page/*)
foreach(input IN LISTS page_files)
  get_filename_component(name ${input} NAME)
  list(APPEND page_inputs ${input})
  list(APPEND page_names ${name})
endforeach()

# The page asks this module whether there is KaTeX.
set(page_has_katex false)
file(GLOB katex_fonts ${R1_KATEX_FONTS}/*.woff2)
if(EXISTS ${R1_KATEX}/katex.js AND EXISTS ${R1_KATEX}/katex.min.css AND katex_fonts)
  set(page_has_katex true)
  list(APPEND page_inputs ${R1_KATEX}/katex.js ${R1_KATEX}/katex.min.css)
  list(APPEND page_names katex.js katex.css)
  foreach(input IN LISTS katex_fonts)
    get_filename_component(name ${input} NAME)
    list(APPEND page_inputs ${input})
    list(APPEND page_names fonts/${name})
  endforeach()
else()
  message(WARNING "KaTeX is missing, so the page of r1 serve will show formulas as text: install libjs-katex and "
                  "fonts-katex (scripts/install.sh does), or set R1_KATEX and R1_KATEX_FONTS")
endif()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/page/features.js CONTENT "export const hasKatex = @page_has_katex@;\n" @ONLY)
list(APPEND page_inputs ${CMAKE_BINARY_DIR}/page/features.js)
list(APPEND page_names features.js)

set(page_declarations "")
set(page_rows "")
foreach(input name IN ZIP_LISTS page_inputs page_names)
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" function ${name})
  set(output ${CMAKE_BINARY_DIR}/page/${function}.cc)
  add_custom_command(OUTPUT ${output} DEPENDS ${input} ${CMAKE_SOURCE_DIR}/scripts/embed.cmake VERBATIM
    COMMAND ${CMAKE_COMMAND} -DINPUT=${input} -DNAME=${function} -DOUTPUT=${output} -DASSETS=page_assets -DLAYER=server
            -P ${CMAKE_SOURCE_DIR}/scripts/embed.cmake)
  target_sources(r1_server PRIVATE ${output})
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
  string(APPEND page_declarations "std::string_view ${function}();\n")
  string(APPEND page_rows "      {\"${name}\", ${function}()},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/page/page_table.cc @ONLY CONTENT [[
#include "server/page_assets.h"

namespace r1::page_assets {
@page_declarations@
std::span<const PageFile> all() {
  static const PageFile files[] = {
@page_rows@  };
  return files;
}
}  // namespace r1::page_assets
]])
target_sources(r1_server PRIVATE ${CMAKE_BINARY_DIR}/page/page_table.cc)
set_source_files_properties(${CMAKE_BINARY_DIR}/page/page_table.cc PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON SKIP_PRECOMPILE_HEADERS ON)
