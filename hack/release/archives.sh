#!/bin/sh
# archives.sh: the programs that people run on their own machines, for each of SYSTEMS and each
# ARCH, as BIN/archives/NAME-VERSION-OS-ARCH.tar.gz, with licences. It packs what is in
# BIN/OS-ARCH. The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."

version=$(hack/release/version.sh)
bin=${BIN:-bin}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

rm -rf "$bin/archives" && mkdir -p "$bin/archives"
for arch in ${ARCH:-amd64 arm64}; do
	for os in ${SYSTEMS:-linux darwin}; do
		for program in ${PROGRAMS:-eni-coordinator}; do
			stage=$bin/archives/.stage
			rm -rf "$stage" && mkdir -p "$stage"
			cp "$bin/$os-$arch/$program" "$stage/"
			# The texts are those of the program for Linux, which links all that the others link.
			cp "$bin/linux-$arch/$program.THIRD-PARTY-LICENSES" "$stage/THIRD-PARTY-LICENSES"
			cp LICENSE "$stage/"
			chmod 0755 "$stage/$program" && chmod 0644 "$stage/LICENSE" "$stage/THIRD-PARTY-LICENSES"
			tar --create --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" \
				--directory "$stage" LICENSE THIRD-PARTY-LICENSES "$program" |
				gzip -n9 >"$bin/archives/$program-$version-$os-$arch.tar.gz"
			rm -rf "$stage"
		done
	done
done
