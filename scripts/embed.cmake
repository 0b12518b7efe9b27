# cmake -DINPUT=FILE -DNAME=function -DOUTPUT=FILE.cc -DASSETS=space [-DLAYER=recipe] -P embed.cmake: a file's bytes as
# r1::ASSETS::NAME() of LAYER/ASSETS.h.
if(NOT DEFINED LAYER)
  set(LAYER recipe)
endif()
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${LAYER}/${ASSETS}.h\"\n
namespace r1::${ASSETS} {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}};
}  // namespace

std::string_view ${NAME}() {
  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};
}
}  // namespace r1::${ASSETS}\n")
