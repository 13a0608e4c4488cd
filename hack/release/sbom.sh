#!/bin/sh
# sbom.sh: a CycloneDX bill of materials for each program in BIN/linux-ARCH, for
# each ARCH, into BIN/sbom: the modules and the Go that the linker says are in it.
set -eu
cd "$(dirname "$0")/../.."

version=$(hack/release/version.sh)
bin=${BIN:-bin}

rm -rf "$bin/sbom" && mkdir -p "$bin/sbom"
for arch in ${ARCH:-amd64 arm64}; do
	for program in eni-agent eni-coordinator eni-cni eni-dra kubectl-eni; do
		go tool -modfile=hack/tools/cyclonedx-gomod/go.mod cyclonedx-gomod bin \
			-json -std -noserial -notimestamp -version "$version" \
			-output "$bin/sbom/$program-linux-$arch.cdx.json" "$bin/linux-$arch/$program"
	done
done
