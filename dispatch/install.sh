#!/bin/sh
# Installs Ray for `make cluster` and `make chaos` into one folder, once: nothing outside it is touched.
#   install.sh DEST
# A cluster of your own has Ray already, or takes it by `pip install -r dispatch/requirements.txt`.
set -eu
dest=$1
requirements=$(dirname "$0")/requirements.txt
cmp -s "$requirements" "$dest/requirements.txt" && exit 0
rm -rf "$dest" "$dest.partial"
python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
  --target "$dest.partial" -r "$requirements"
cp "$requirements" "$dest.partial/requirements.txt"
mv "$dest.partial" "$dest"
echo "Ray: $dest" >&2
