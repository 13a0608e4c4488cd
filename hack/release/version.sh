#!/bin/sh
# Prints the version of what is built from this tree:
#   v0.2.0                    the commit is tagged so
#   v0.2.1-dev.3.gabc1234     three commits after v0.2.0; sorts between both
#   v0.0.0-dev.gabc1234       there is no tag yet
#   ....dirty                 and something is not committed
# VERSION in the environment comes first: a tree without git needs it.
set -eu
cd "$(dirname "$0")/../.."

if [ -n "${VERSION:-}" ]; then
	echo "$VERSION"
elif ! commit=$(git rev-parse --short=7 HEAD 2>/dev/null); then
	echo v0.0.0-dev
else
	dirty=
	git diff --quiet HEAD -- || dirty=.dirty
	if described=$(git describe --tags --long --abbrev=7 --match 'v[0-9]*.[0-9]*.[0-9]*' 2>/dev/null); then
		hash=${described##*-} rest=${described%-*}
		count=${rest##*-} tag=${rest%-*}
		case $count$dirty/$tag in
		0/*) echo "$tag" ;;
		*/*-*) echo "$tag.dev.$count.$hash$dirty" ;; # after v0.2.0-rc.1
		*) echo "${tag%.*}.$((${tag##*.} + 1))-dev.$count.$hash$dirty" ;;
		esac
	else
		echo "v0.0.0-dev.g$commit$dirty"
	fi
fi
