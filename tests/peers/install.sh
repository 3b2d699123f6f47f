#!/bin/sh
# Installs one peer of the benchmarks or of `make agreement` into a folder of its own, once: nothing outside it is touched.
#   install.sh DEST PEER        PEER is pytorch, keras, onnxruntime, librosa or features
set -eu
dest=$1/$2
requirements=$(dirname "$0")/$2.requirements
cmp -s "$requirements" "$dest/requirements" && exit 0
rm -rf "$dest" "$dest.partial"
python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
  --target "$dest.partial" -r "$requirements"
cp "$requirements" "$dest.partial/requirements"
mv "$dest.partial" "$dest"
echo "$2 to compare with: $dest" >&2
