#!/bin/sh
# image.sh: the images eni-agent and eni-coordinator of VERSION, for each ARCH,
# out of the programs in bin/linux-ARCH, with buildah or docker (IMAGE_TOOL).
# The same commit gives the same digests. PUSH=1 pushes to IMAGE_REPOSITORY and
# leaves each digest in bin/images/NAME.digest.
set -eu
cd "$(dirname "$0")/../.."

version=$(hack/release/version.sh)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
repository=${IMAGE_REPOSITORY:-ghcr.io/aws-multi-eni}
arches=${ARCH:-amd64 arm64}

tool=${IMAGE_TOOL:-}
if [ -z "$tool" ]; then
	if docker info >/dev/null 2>&1; then
		tool=docker
	elif command -v buildah >/dev/null; then
		tool=buildah
	else
		echo "make image needs buildah, or docker with a running engine; on Debian and Ubuntu: apt-get install buildah" >&2
		exit 1
	fi
fi
case $tool in
buildah | docker) ;;
*)
	echo "IMAGE_TOOL=$tool: want buildah or docker" >&2
	exit 1
	;;
esac

# build ARGUMENT...: what both tools are told.
build() {
	"$@" --file Dockerfile --target "$target" \
		--build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg CREATED="$created" .
}

with_buildah() {
	buildah manifest rm "$image" >/dev/null 2>&1 || true # a list is added to, never replaced
	for arch in $arches; do
		# No RUN, so nothing of another architecture is executed.
		build buildah build --platform "linux/$arch" --manifest "$image" \
			--timestamp "$epoch" --identity-label=false --layers
	done
	[ -z "${PUSH:-}" ] ||
		buildah manifest push --all --digestfile "$digest" ${IMAGE_PUSH_FLAGS:-} "$image" "docker://$image"
}

with_docker() {
	export DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1
	for arch in $arches; do
		build docker build --platform "linux/$arch" --tag "$image-$arch" --build-arg SOURCE_DATE_EPOCH="$epoch"
		[ "$arch" != "$(go env GOARCH)" ] || docker tag "$image-$arch" "$image"
		[ -z "${PUSH:-}" ] || docker push "$image-$arch"
	done
	[ -n "${PUSH:-}" ] || return 0
	docker manifest rm "$image" >/dev/null 2>&1 || true
	docker manifest create ${IMAGE_PUSH_FLAGS:-} "$image" $(for arch in $arches; do echo "$image-$arch"; done)
	docker manifest push ${IMAGE_PUSH_FLAGS:-} "$image" | tee /dev/stderr | grep -o 'sha256:[0-9a-f]*' | tail -n 1 >"$digest"
}

mkdir -p bin/images
for target in agent coordinator; do
	name=eni-$target image=$repository/eni-$target:$version digest=bin/images/eni-$target.digest
	rm -f "$digest"
	for arch in $arches; do
		# docker takes the files' times
		touch -d "@$epoch" "bin/linux-$arch/"* LICENSE
	done
	"with_$tool"
	echo "$image ($arches)${PUSH:+ pushed as $(cat "$digest")}"
done
