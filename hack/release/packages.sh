#!/bin/sh
# packages.sh: eni-agent, with the CNI plugin, as deb and rpm, of VERSION, for each ARCH, out of the
# programs in BIN/linux-ARCH, into BIN/packages. The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."

VERSION=$(hack/release/version.sh)
BIN=${BIN:-bin}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export VERSION BIN SOURCE_DATE_EPOCH

rm -rf "$BIN/packages" && mkdir -p "$BIN/packages"
for ARCH in ${ARCH:-amd64 arm64}; do
	export ARCH
	for packager in deb rpm; do
		go tool -modfile=hack/tools/nfpm/go.mod nfpm package \
			--config packaging/nfpm/nfpm.yaml --packager "$packager" --target "$BIN/packages"
	done
done
