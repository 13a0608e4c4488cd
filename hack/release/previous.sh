#!/bin/sh
# Builds the programs of the previous version from git into a cache outside the tree,
# once, and prints the directory that holds them, its chart and its manifests. The
# previous version is the commit or tag in hack/release/previous, or in PREVIOUS.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

previous=${PREVIOUS:-$(grep -v '^#' "$here/previous")}
if ! commit=$(git -C "$here" rev-parse --verify --quiet "$previous^{commit}"); then
	echo "this clone has no commit $previous, the previous version: fetch the history (git fetch --unshallow --tags), or set PREVIOUS" >&2
	exit 1
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/aws-multi-eni/previous/$(go env GOOS)-$(go env GOARCH)-$commit
if [ ! -d "$cache" ]; then
	echo "building the programs of $previous, once (cached in $cache)" >&2
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir "$work/tree" "$work/result"
	git -C "$here/../.." archive "$commit" | tar -x -C "$work/tree"
	programs="./cmd/eni-agent ./cmd/eni-coordinator"
	[ ! -d "$work/tree/cmd/eni-cni" ] || programs="$programs ./cmd/eni-cni"
	# shellcheck disable=SC2086 # several programs
	(cd "$work/tree" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$work/result/" $programs) >&2
	mv "$work/tree/manifests" "$work/tree/packaging/helm/aws-multi-eni" "$work/result/"
	mv "$work/result" "$cache"
fi
echo "$cache"
