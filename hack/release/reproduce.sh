#!/usr/bin/env bash
# reproduce.sh: proves that a commit gives the same bytes whoever builds it. It builds everything
# that is released twice: in two clones with paths of different length, at different times, with
# different file times and umasks, the programs the second time with an empty Go build cache. Then
# it compares every file, and the images by their digests. The images need buildah; IMAGES= leaves
# them out.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
first=$work/1 second=$work/a/much/longer/way/to/the/same/tree
version=$(hack/release/version.sh)
version=${version%.dirty} # what is compared is the commit
images=${IMAGES-eni-agent eni-coordinator}
arches=${ARCH:-amd64 arm64}
if [ -n "$images" ] && ! command -v buildah >/dev/null; then
	echo "comparing images needs buildah (apt-get install buildah); IMAGES= leaves them out" >&2
	exit 1
fi

# make_in TREE TARGET...: as from a shell, without what `make` hands on.
make_in() {
	local tree=$1
	shift
	env -u MAKEFLAGS -u MAKELEVEL -u BIN make -C "$tree" "$@" VERSION="$version" ARCH="$arches" >"$tree.log" 2>&1 || {
		tail -n 30 "$tree.log" >&2
		return 1
	}
}

# build_images TREE: each with a storage of its own, so that no layer is taken from the other.
build_images() {
	[ -n "$images" ] || return 0
	local tree=$1 name
	printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$tree.images" "$tree.images" >"$tree.storage.conf"
	(
		export CONTAINERS_STORAGE_CONF=$tree.storage.conf
		make_in "$tree" image IMAGE_TOOL=buildah IMAGE_REPOSITORY=localhost/reproduce
		for name in $images; do
			buildah manifest push --quiet --all --digestfile "$tree/bin/images/$name.digest" \
				"localhost/reproduce/$name:$version" "oci:$tree.oci:$name" >/dev/null
		done
	)
}

# digests TREE: of everything that is released.
digests() (
	cd "$1/bin"
	find linux-* darwin-* release -type f -exec sha256sum {} + | sort -k 2
	for name in $images; do
		echo "$(cat "images/$name.digest")  image $name"
	done
)

git clone --quiet --no-hardlinks . "$first"
mkdir -p "$(dirname "$second")"
git clone --quiet --no-hardlinks . "$second"

echo "building $version in $first"
make_in "$first" release-files
build_images "$first"

echo "building $version in $second"
find "$second" -name .git -prune -o -exec touch -d 2001-02-03T04:05:06Z {} +
(
	umask 077
	GOCACHE=$work/cache make_in "$second" binaries
	(cd "$second/bin" && find . -type f -exec sha256sum {} + | sort -k 2) >"$work/fresh"
	make_in "$second" release-files
	(cd "$second/bin" && cut -c67- "$work/fresh" | xargs sha256sum) | diff - "$work/fresh"
	build_images "$second"
)

digests "$first" >"$work/first.sums"
digests "$second" >"$work/second.sums"
if ! diff "$work/first.sums" "$work/second.sums"; then
	echo "the two builds differ: see the lines above" >&2
	exit 1
fi
echo "the two builds are the same, $(wc -l <"$work/first.sums") artifacts:"
cat "$work/first.sums"
