#!/usr/bin/env bash
# Builds a relocatable tarball of r1 for Linux: the program, the libraries that it needs beside the C library, the shipped models and
# the recipes. It runs without root and without installing anything, on Debian 12 and anything newer.
#   scripts/package.sh            for this machine's kind of processor
#   scripts/package.sh arm64      for 64-bit Arm, with the cross compiler (as root on x86-64, the first time)
#   scripts/package.sh --check    also unpacks it in bare Debian 12 and 13 root file systems and asks for a first thought there (as root)
# The tarball is dist/r1-VERSION-linux-MACHINE.tar.gz.
set -euo pipefail
cd "$(dirname "$0")/.."

arm=no check=no
for argument in "$@"; do
  case $argument in
    arm64) arm=yes ;;
    --check) check=yes ;;
    *) echo "scripts/package.sh: unknown argument $argument: arm64 and --check are known" >&2; exit 2 ;;
  esac
done
if [[ $arm == yes && $check == yes ]]; then
  echo "scripts/package.sh: --check runs the program, which is made for another machine: scripts/arm64.sh checks it under an emulator" >&2
  exit 2
fi

# DT_RPATH, not DT_RUNPATH: libraries find each other by it too.
export LDFLAGS=-Wl,--disable-new-dtags
options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DR1_TESTS=OFF -DR1_BENCH=OFF -DR1_CUDA=OFF -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON
  "-DCMAKE_INSTALL_RPATH=\$ORIGIN/../lib")
if [[ $arm == yes ]]; then
  . scripts/cross_arm64.sh  # sets arm_root, arm_options
  machine=aarch64 strip=aarch64-linux-gnu-strip readelf=aarch64-linux-gnu-readelf
  build=build-arm64/package
  options+=("${arm_options[@]}")
  folders=("$arm_root"/usr/lib/aarch64-linux-gnu "$arm_root"/lib/aarch64-linux-gnu /usr/aarch64-linux-gnu/lib)
else
  scripts/install.sh
  machine=$(uname -m) strip=strip readelf=readelf
  build=build-package
  folders=(/usr/lib/"$machine"-linux-gnu /lib/"$machine"-linux-gnu)
fi
cmake -S . -B "$build" "${options[@]}" >/dev/null
cmake --build "$build" --target r1

version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")
name=r1-$version-linux-$machine
out=dist/$name
rm -rf "$out"
mkdir -p "$out/bin" "$out/lib" "$out/models" "$out/recipes" "$out/licences"
cp "$build/r1" "$out/bin/"
"$strip" "$out/bin/r1"

# The C library is the system's own: it belongs with the kernel and the name service there.
is_of_system() { [[ $1 =~ ^(ld-linux.*|libc|libm|libdl|libpthread|librt|libresolv)\.so ]]; }
# Copies what FILE needs, and what that needs.
collect() {
  local library folder found
  for library in $("$readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    if is_of_system "$library" || [[ -e $out/lib/$library ]]; then continue; fi
    found=
    for folder in "${folders[@]}"; do
      [[ -e $folder/$library ]] && { found=$folder/$library; break; }
    done
    [[ -n $found ]] || { echo "scripts/package.sh: $library, which $1 needs, is nowhere to be found" >&2; exit 2; }
    cp -L "$found" "$out/lib/$library"
    "$strip" --strip-unneeded "$out/lib/$library"
    collect "$found"
  done
}
collect "$out/bin/r1"

git ls-files models | xargs cp --parents -t "$out"
git ls-files recipes | xargs cp --parents -t "$out"
cp LICENSE README.md "$out/"
cp LICENSE "$out/licences/r1"
licences=/usr/share/doc
[[ $arm == yes ]] && licences=$arm_root/usr/share/doc
for package in libhwy1 libfmt9 libssl3 libsimdjson14 libpcre2-8-0 libicu72 zlib1g libedit2 libbsd0 libmd0 libtinfo6 libstdc++6 libgcc-s1 \
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libjs-chart.js libjs-katex fonts-katex; do
  for folder in "$licences" /usr/share/doc; do
    [[ -e $folder/$package/copyright ]] && { cp -L "$folder/$package/copyright" "$out/licences/$package"; break; }
  done
done

tar -C dist --owner=0 --group=0 --sort=name -czf "dist/$name.tar.gz" "$name"
echo "dist/$name.tar.gz: $(du -h "dist/$name.tar.gz" | cut -f1)"

[[ $check == yes ]] || exit 0
((EUID == 0)) || { echo "scripts/package.sh --check makes root file systems: run it as root" >&2; exit 2; }
command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
for release in bookworm trixie; do
  root=$build/$release
  if [[ ! -d $root ]]; then
    mmdebstrap --variant=minbase --quiet "$release" "$root.new"
    mv "$root.new" "$root"
  fi
  rm -rf "$root/home/user"
  mkdir -p "$root/home/user"
  cp "dist/$name.tar.gz" "$root/home/user/"
  chown -R 1000:1000 "$root/home/user"
  # In namespaces of its own, so that /proc is there, as on a running system, and goes with the process.
  as_user() { unshare --fork --pid --mount-proc="$root/proc" chroot --userspec=1000:1000 "$root" /bin/sh -c "$1"; }
  begin=$(date +%s.%N)
  answer=$(as_user \
    "cd /home/user && tar -xzf $name.tar.gz && HOME=/home/user $name/bin/r1 run --seed 1 -p 'Make 26 from 3, 5 and 7.'")
  end=$(date +%s.%N)
  [[ $answer == *"<think>"* ]] || { echo "$release: no thought: $answer" >&2; exit 1; }
  as_user "cd /home/user && HOME=/home/user $name/bin/r1 doctor >/dev/null"
  echo "$release: a first answer $(awk "BEGIN { printf \"%.1f\", $end - $begin }") s after the tarball; r1 doctor is content"
done
