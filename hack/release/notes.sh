#!/bin/sh
# notes.sh VERSION: prints what CHANGELOG.md says about the version. A release candidate has no
# section of its own: it gets what is under "Unreleased".
set -eu
cd "$(dirname "$0")/../.."

case ${1:?usage: notes.sh VERSION} in
*-*) section=Unreleased ;;
*) section=${1#v} ;;
esac
notes=$(awk -v heading="## [$section]" '
	index($0, "## ") == 1 { printing = index($0, heading) == 1; next }
	printing && !/^\[[^]]*\]: / { print }
' CHANGELOG.md)
if ! printf '%s\n' "$notes" | grep -q '^- '; then
	echo "CHANGELOG.md has no entry under \"## [$section]\"; docs/releasing.md explains how to prepare a release" >&2
	exit 1
fi
printf '%s\n' "$notes" | sed '1{/^$/d;}'
