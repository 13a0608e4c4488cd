#!/bin/sh
# set-version.sh VERSION: writes the version, such as v0.2.0, wherever the tree names the release
# that it is going to be: the chart, the manifests, and the commands in the documentation.
set -eu
cd "$(dirname "$0")/../.."

version=${1:-}
echo "$version" | grep -Eqx 'v[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)\.[0-9]+)?' || {
	echo "VERSION=$version: want a version such as v0.2.0 or v0.2.0-rc.1" >&2
	exit 1
}
any='v[0-9]*\.[0-9]*\.[0-9][-.a-z0-9]*'

sed -i "s/^version: .*/version: ${version#v}/; s/^appVersion: .*/appVersion: $version/" packaging/helm/aws-multi-eni/Chart.yaml
sed -i "s/newTag: $any/newTag: $version/" manifests/kustomization.yaml
# In documentation and comments, what a user copies: references, tags, and variables.
find README.md SECURITY.md docs manifests packaging \( -name '*.md' -o -name '*.yaml' -o -name values_test.go \) -type f -exec sed -i \
	-e "s|\(aws-multi-eni/[^ ]*?ref=\)$any|\1$version|g" \
	-e "s|\(release\.yml@refs/tags/\)$any|\1$version|g" \
	-e "s|\(aws-multi-eni/releases/download/\)$any|\1$version|g" \
	-e "s|\(aws-multi-eni/aws-multi-eni/\)$any|\1$version|g" \
	-e "s|\(ghcr.io/aws-multi-eni/eni-[a-z]*:\)$any|\1$version|g" \
	-e "s|\(verify\.sh \)$any|\1$version|g" \
	-e "s|\(export ENI_VERSION=\)v\{0,1\}[0-9][-.a-z0-9]*|\1$version|g" \
	-e "s|\(charts/aws-multi-eni --version \)[0-9][-.a-z0-9]*|\1${version#v}|g" {} +
