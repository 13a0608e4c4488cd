#!/bin/sh
# Builds etcd and kube-apiserver from their Go modules into a cache outside the
# tree, once, and prints the directory that holds them. SCHEDULING=1 builds
# kube-scheduler and kube-controller-manager as well. KUBELET=1 builds kubelet, and, into
# the subdirectory runtime, containerd and runc; the latter needs libseccomp, or else the
# one that is installed is used. KUBEBUILDER_ASSETS, when set, names a
# directory that already has the programs. OLDEST=1 builds the oldest kube-apiserver that
# is supported. With -n nothing is built.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
	for name in etcd kube-apiserver; do
		if [ ! -x "$KUBEBUILDER_ASSETS/$name" ]; then
			echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no executable $name; unset it to build one from source" >&2
			exit 1
		fi
	done
	for name in ${SCHEDULING:+kube-scheduler kube-controller-manager}; do
		[ -x "$KUBEBUILDER_ASSETS/$name" ] ||
			echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no executable $name: tests that schedule pods are skipped; unset it to build one from source" >&2
	done
	(cd "$KUBEBUILDER_ASSETS" && pwd) # absolute: tests run in their packages' directories
	exit 0
fi

version() { awk -v module="$2" '$1 == "require" && $2 == module { print $3; exit } $1 == module { print $2; exit }' "$here/$1/go.mod"; }
kubernetes=kube-apiserver${OLDEST:+-oldest}
kube=$(version "$kubernetes" k8s.io/kubernetes)
etcd=$(version etcd go.etcd.io/etcd/server/v3)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/aws-multi-eni/controlplane/$(go env GOOS)-$(go env GOARCH)-kube-$kube-etcd-$etcd
if [ "${1:-}" = -n ]; then
	echo "$cache"
	exit
fi
mkdir -p "$cache"

# build NAME MODULE PACKAGE LDFLAGS MINUTES: the binary appears under its name only
# when it is whole, so that an interrupted build is simply done again.
build() {
	[ -x "$cache/$1" ] && return
	mkdir -p "$(dirname "$cache/$1")"
	echo "building $1 from its Go module, once: $5 on two cores (cached in $cache)" >&2
	(cd "$here/$2" && CGO_ENABLED=${cgo:-0} go build -trimpath -tags "${tags:-}" -ldflags "-s -w $4" -o "$cache/$1.$$" "$3") >&2
	mv "$cache/$1.$$" "$cache/$1"
}
build_kube() {
	build "$1" "$kubernetes" "k8s.io/kubernetes/cmd/$1" \
		"-X k8s.io/component-base/version.gitVersion=$kube -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(echo "$kube" | cut -d. -f2)" "$2"
}
build etcd etcd go.etcd.io/etcd/server/v3 "" "about 40 seconds"
build_kube kube-apiserver "about 7 minutes"
if [ -n "${SCHEDULING:-}" ]; then
	build_kube kube-scheduler "about 30 seconds"
	build_kube kube-controller-manager "about 2 minutes"
fi
if [ -n "${KUBELET:-}" ]; then
	build_kube kubelet "about 2 minutes"
	containerd=$(version containerd github.com/containerd/containerd/v2)
	runc=$(version runc github.com/opencontainers/runc)
	runtime=containerd-$containerd-runc-$runc
	for program in containerd containerd-shim-runc-v2 ctr; do
		build "$runtime/$program" containerd "github.com/containerd/containerd/v2/cmd/$program" \
			"-X github.com/containerd/containerd/v2/version.Version=$containerd" "about a minute"
	done
	if pkg-config --exists libseccomp 2>/dev/null; then
		cgo=1 tags=seccomp build "$runtime/runc" runc github.com/opencontainers/runc "-X main.version=${runc#v}" "about 30 seconds"
	elif [ ! -x "$cache/$runtime/runc" ]; then
		installed=$(command -v runc) || {
			echo "runc is neither installed nor can it be built: install libseccomp-dev (Debian, Ubuntu) or libseccomp-devel (Fedora), pkg-config, and gcc" >&2
			exit 1
		}
		ln -s "$installed" "$cache/$runtime/runc"
	fi
	ln -sfn "$runtime" "$cache/runtime"
fi
echo "$cache"
