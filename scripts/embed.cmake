# cmake -DINPUT=FILE -DNAME=function -DOUTPUT=FILE.cc -P embed.cmake: a file's bytes as r1::report_assets::NAME().
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"recipe/report_assets.h\"\n
namespace r1::report_assets {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}};
}  // namespace

std::string_view ${NAME}() {
  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};
}
}  // namespace r1::report_assets\n")
