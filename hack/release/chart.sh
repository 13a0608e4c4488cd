#!/bin/sh
# chart.sh: the Helm chart, of VERSION, into BIN/chart; it installs the images of the
# same version. The same commit gives the same bytes. PUSH=1 pushes it to IMAGE_REPOSITORY/charts and leaves its digest in
# BIN/chart.digest.
set -eu
cd "$(dirname "$0")/../.."

version=$(hack/release/version.sh)
bin=${BIN:-bin}
helm() { go tool -modfile=hack/tools/helm/go.mod helm "$@"; }

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

rm -rf "$bin/chart" "$bin/chart.source" && mkdir -p "$bin/chart" "$bin/chart.source"
cp -R packaging/helm/aws-multi-eni "$bin/chart.source/"
find "$bin/chart.source" -exec touch -d "@$epoch" {} + # Helm packs the files' times
helm package "$bin/chart.source/aws-multi-eni" \
	--version "${version#v}" --app-version "$version" --destination "$bin/chart"
rm -rf "$bin/chart.source"
if [ -n "${PUSH:-}" ]; then
	helm push "$bin/chart/aws-multi-eni-${version#v}.tgz" \
		"oci://${IMAGE_REPOSITORY:-ghcr.io/aws-multi-eni}/charts" ${CHART_PUSH_FLAGS:-} 2>&1 | tee "$bin/chart.log"
	sed -n 's/^Digest: //p' "$bin/chart.log" >"$bin/chart.digest"
	grep -q '^sha256:' "$bin/chart.digest"
fi
