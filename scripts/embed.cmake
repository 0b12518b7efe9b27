# cmake -DINPUT=FILE -DNAME=function -DOUTPUT=FILE.cc -DASSETS=space -P embed.cmake: a file's bytes as r1::ASSETS::NAME() of
# recipe/ASSETS.h.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"recipe/${ASSETS}.h\"\n
namespace r1::${ASSETS} {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}};
}  // namespace

std::string_view ${NAME}() {
  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};
}
}  // namespace r1::${ASSETS}\n")
