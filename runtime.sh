#!/bin/sh
# Fetches the ONNX Runtime library into a folder: runtime.sh FOLDER
#
# Needs python3 with pip. The wheel is pinned by hash in runtime.requirements; the library is put in place by
# one rename, and nothing is done when the pinned version is already there.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 FOLDER" >&2
    exit 2
fi
folder=$1
requirements=$(dirname "$0")/runtime.requirements
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$requirements")
library=$folder/libonnxruntime.so
# Beside the library, which does not give its version without being loaded.
mark=$folder/libonnxruntime.version

if [ -f "$library" ] && [ "$(cat "$mark" 2>/dev/null)" = "$version" ]; then
    exit 0
fi

case "$(uname -s) $(uname -m)" in
    "Linux x86_64") platform=manylinux_2_28_x86_64 ;;
    "Linux aarch64") platform=manylinux_2_28_aarch64 ;;
    *)
        echo "error: no pinned ONNX Runtime for $(uname -s) on $(uname -m)" >&2
        echo "hint: put its library, version 1.24 or later, into $folder yourself" >&2
        exit 3
        ;;
esac

mkdir -p "$folder"
temporary=$(mktemp -d "$folder/runtime.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM

python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --platform "$platform" --python-version 3.11 --implementation cp --dest "$temporary" -r "$requirements"
python3 -m zipfile -e "$temporary"/onnxruntime-*.whl "$temporary/wheel"
chmod 755 "$temporary/wheel/onnxruntime/capi/libonnxruntime.so.$version"
rm -f "$mark"
mv -f "$temporary/wheel/onnxruntime/capi/libonnxruntime.so.$version" "$library"
echo "$version" > "$temporary/version"
mv -f "$temporary/version" "$mark"
echo "ONNX Runtime $version is in $library" >&2
