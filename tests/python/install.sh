#!/bin/sh
# Installs what the tests of the README's queries need into one folder, once: nothing outside it is touched.
#   install.sh DEST
set -eu
dest=$1
here=$(dirname "$0")
stamp="$dest/requirements.txt"
cmp -s "$here/requirements.txt" "$stamp" && exit 0
rm -rf "$dest" "$dest.partial"
python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
  --target "$dest.partial" -r "$here/requirements.txt"
cp "$here/requirements.txt" "$dest.partial/requirements.txt"
mv "$dest.partial" "$dest"
echo "python libraries for the tests: $dest"
