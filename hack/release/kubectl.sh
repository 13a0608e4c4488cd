#!/bin/sh
# kubectl.sh: an archive of the kubectl plugin in BIN/kubectl/OS-ARCH for each of PLATFORMS,
# with the licences, into BIN/kubectl, and the manifest for krew with the archives'
# checksums. The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."

version=$(hack/release/version.sh)
bin=${BIN:-bin}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

sed "s/VERSION/$version/" packaging/krew/eni.yaml >"$bin/kubectl/krew-eni.yaml"
for platform in $PLATFORMS; do
	name=$(echo "$platform" | tr / -)
	cp LICENSE "$bin/kubectl/THIRD-PARTY-LICENSES" "$bin/kubectl/$name/"
	tar --create --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
		--directory "$bin/kubectl/$name" $(ls "$bin/kubectl/$name") | gzip -n >"$bin/kubectl/kubectl-eni-$name.tar.gz"
	sum=$(sha256sum "$bin/kubectl/kubectl-eni-$name.tar.gz" | cut -d' ' -f1)
	sed -i "s/SHA256-$name\$/$sum/" "$bin/kubectl/krew-eni.yaml"
done
