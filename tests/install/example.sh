#!/bin/sh
# Installs the engine into an empty folder, builds examples/score_text.c against what lies there, and runs it:
#   example.sh BUILD_FOLDER SOURCE_FOLDER LIBRARY_FOLDER_NAME C_COMPILER [FLAGS]
set -eu
build=$1 source=$2 libraries=$3 compiler=$4
shift 4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$build" --component engine --prefix "$folder/prefix" >"$folder/log"
export PKG_CONFIG_PATH="$folder/prefix/$libraries/pkgconfig"
"$compiler" -std=c99 -Wall -Wextra -Werror "$source/examples/score_text.c" -o "$folder/score_text" "$@" \
  $(pkg-config --cflags --libs --static par5-engine)
"$folder/score_text" "$source/tests/archive/golden/unet-quinary.par5" 1 17 200 3 3 250 90 >"$folder/out"
cat "$folder/out"
sed 's/(kernel .*/(kernel)/' "$folder/out" | cmp - "$source/tests/install/expected.txt"
if "$folder/score_text" "$source/README.md" 1 2 2>"$folder/message"; then
  echo "a text was taken for an artifact" >&2
  exit 1
fi
grep -q "is not a par5 artifact" "$folder/message"
