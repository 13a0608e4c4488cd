#!/bin/sh
# deploy.sh: builds the images of the working tree and installs them with the chart of the working
# tree in the cluster that kubectl's current context names.
#   IMAGE_REPOSITORY  where the images are pushed to, and the nodes pull them from
#   LOAD              instead: a command that gets the file of each image, such as
#                     "kind load image-archive" or "ctr -n k8s.io images import"
#   ARCH              the architectures of the nodes (default: asks the cluster)
#   HELM_FLAGS        such as "--values my-values.yaml --set pods.enabled=true"
set -eu
cd "$(dirname "$0")/.."

if [ -z "${IMAGE_REPOSITORY:-}${LOAD:-}" ]; then
	echo "set IMAGE_REPOSITORY to a registry that you can push to and that the nodes can pull from, or LOAD to a command that loads an image file on the nodes; see CONTRIBUTING.md" >&2
	exit 1
fi
context=$(kubectl config current-context)
ARCH=${ARCH:-$(kubectl get nodes --output 'jsonpath={range .items[*]}{.status.nodeInfo.architecture}{"\n"}{end}' | sort -u | xargs)}
[ -n "$ARCH" ] || { echo "the cluster of context $context has no nodes; set ARCH" >&2; exit 1; }
IMAGE_REPOSITORY=${IMAGE_REPOSITORY:-localhost/aws-multi-eni}
VERSION=$(hack/release/version.sh)
case $VERSION in *.dirty) VERSION=$VERSION.$(date +%s) ;; esac # the nodes keep images by tag
PUSH=1
[ -z "${LOAD:-}" ] || PUSH=
export ARCH IMAGE_REPOSITORY VERSION PUSH

echo "installing $VERSION for $ARCH in the cluster of context $context"
make image
if [ -n "${LOAD:-}" ]; then
	[ "${ARCH#* }" = "$ARCH" ] || { echo "LOAD works for one architecture at a time; set ARCH to one of: $ARCH" >&2; exit 1; }
	for name in eni-agent eni-coordinator; do
		image=$IMAGE_REPOSITORY/$name:$VERSION file=bin/images/$name.tar
		rm -f "$file"
		if [ "${IMAGE_TOOL:-}" != buildah ] && docker image inspect "$image" >/dev/null 2>&1; then
			docker save --output "$file" "$image"
		else
			buildah push --quiet "$(buildah manifest inspect "$image" | sed -n 's/.*"digest": "\(.*\)",*/\1/p' | head -n 1 | sed "s|^|$IMAGE_REPOSITORY/$name@|")" "docker-archive:$file:$image"
		fi
		$LOAD "$file"
	done
fi
# shellcheck disable=SC2086 # flags are words
go tool -modfile=hack/tools/helm/go.mod helm upgrade --install aws-multi-eni packaging/helm/aws-multi-eni \
	--namespace eni-system --create-namespace \
	--set image.repository="$IMAGE_REPOSITORY" --set image.tag="$VERSION" ${HELM_FLAGS:-}
kubectl --namespace eni-system get deployments,daemonsets --output wide
