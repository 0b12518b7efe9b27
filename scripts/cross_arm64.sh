# Sourced, from the repository's root: what a build for 64-bit Arm on x86-64 Debian 12 needs. Installs the cross compiler and the emulator (as root,
# the first time), unpacks Arm's libraries into build-arm64/root, and sets
#   arm_root      that folder
#   arm_options   options of cmake

arm_here=$PWD/build-arm64
arm_root=$arm_here/root
arm_libraries=$arm_root/usr/lib/aarch64-linux-gnu
mkdir -p "$arm_here/debs" "$arm_root"
arm_packages=(libhwy-dev libhwy1 libfmt-dev libfmt9 libssl-dev libssl3 libsimdjson-dev libsimdjson14 libpcre2-dev libpcre2-8-0
  libpcre2-16-0 libpcre2-32-0 libpcre2-posix3 libicu-dev libicu72 libedit-dev libedit2 libbsd-dev libbsd0 libmd-dev libmd0
  libncurses-dev libtinfo6 zlib1g-dev zlib1g libgtest-dev)
if [[ $(cat "$arm_here/unpacked" 2>/dev/null) != "${arm_packages[*]}" ]]; then
  ((EUID == 0)) || { echo "$0: the cross compiler and the emulator are installed by root: run this as root" >&2; exit 2; }
  dpkg --add-architecture arm64
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user-static >/dev/null
  # Unpacked beside the system, not installed into it: libraries of two machines do not get on.
  (cd "$arm_here/debs" && rm -f ./*.deb && apt-get download -qq "${arm_packages[@]/%/:arm64}")
  for package in "$arm_here"/debs/*.deb; do dpkg -x "$package" "$arm_root"; done
  cp -r /usr/include/{toml++,CLI,nlohmann} "$arm_root/usr/include/"
  mkdir -p "$arm_root/usr/share"
  cp -r /usr/share/cmake "$arm_root/usr/share/"
  echo "${arm_packages[*]}" >"$arm_here/unpacked"
fi

cat >"$arm_here/toolchain.cmake" <<Y
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH $arm_root)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_CXX_FLAGS_INIT "-isystem $arm_root/usr/include -isystem $arm_root/usr/include/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-L$arm_libraries -Wl,-rpath-link,$arm_libraries -Wl,-rpath-link,$arm_root/lib/aarch64-linux-gnu")
Y
export PKG_CONFIG_LIBDIR=$arm_libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$arm_root
arm_options=(-DCMAKE_TOOLCHAIN_FILE="$arm_here/toolchain.cmake" -DR1_CHART_JS=/usr/share/javascript/chart.js/chart.min.js)
