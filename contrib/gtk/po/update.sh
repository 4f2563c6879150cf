#!/bin/sh
# Prints the template for a new translation, and brings the translations here up to date; what is new in them is empty.
set -eu
cd "$(dirname "$0")"
template=$(mktemp)
trap 'rm -f "$template"' EXIT
xgettext --language=Python --from-code=UTF-8 --keyword=_ --keyword=_n:1,2 --no-location --package-name=virtcard \
    --output="$template" ../virtcard_gtk/*.py
for language in *.po; do
    [ ! -e "$language" ] || msgmerge --quiet --update --backup=none --no-fuzzy-matching "$language" "$template"
done
cat "$template"
