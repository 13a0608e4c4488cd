#!/usr/bin/env bash
# verify.sh verifies a release of aws-multi-eni: every file, both images, and the chart. This one
# file is all you need of the repository. It requires gh (logged in: gh auth login) and cosign.
#
#   verify.sh v0.1.0               downloads the files of the release and verifies them
#   verify.sh v0.1.0 --dir DIR     verifies the files of the release that DIR already holds
#   verify.sh v0.1.0 --keep DIR    downloads the files into DIR and leaves them there
#
# It prints one line for each check: ✓ passed, ✗ failed. It exits with 0 only when all passed.
set -uo pipefail

repository=${REPOSITORY:-aws-multi-eni/aws-multi-eni}
registry=${IMAGE_REPOSITORY:-ghcr.io/${repository%%/*}}
issuer=https://token.actions.githubusercontent.com

usage() {
	sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

version='' dir='' download=yes temporary=''
while [ $# -gt 0 ]; do
	case $1 in
	--dir | --keep)
		[ $# -gt 1 ] || usage
		[ "$1" = --keep ] || download=
		dir=$2
		shift
		;;
	v[0-9]*.[0-9]*.[0-9]*) version=$1 ;;
	*) usage ;;
	esac
	shift
done
[ -n "$version" ] || usage

# Who must have signed: the release workflow of this repository, started by this tag.
identity=https://github.com/$repository/.github/workflows/release.yml@refs/tags/$version

failed=0
# check DESCRIPTION COMMAND...: runs the command and shows its output only when it fails.
check() {
	local description=$1 output
	shift
	if output=$("$@" 2>&1); then
		echo "✓ $description"
	else
		failed=$((failed + 1))
		echo "✗ $description"
		printf '%s\n' "$output" | sed 's/^/    /'
		return 1
	fi
}

for tool in cosign gh; do
	command -v "$tool" >/dev/null || {
		echo "verify.sh needs $tool; install it and try again" >&2
		exit 2
	}
done
if command -v sha256sum >/dev/null; then
	sha256() { sha256sum "$1" | cut -d' ' -f1; }
else
	sha256() { shasum -a 256 "$1" | cut -d' ' -f1; }
fi

# expected FILE: the checksum that SHA256SUMS has for it.
expected() { awk -v file="$1" '$2 == file { print $1 }' SHA256SUMS; }

# matches FILE: whether the file has the checksum in SHA256SUMS.
matches() {
	local want got
	want=$(expected "$1")
	[ -n "$want" ] || { echo "SHA256SUMS does not list it, so it is not a file of the release"; return 1; }
	[ -f "$1" ] || { echo "the file is missing"; return 1; }
	got=$(sha256 "$1")
	[ "$got" = "$want" ] || { echo "its SHA-256 is $got, SHA256SUMS has $want"; return 1; }
}

signed_blob() {
	cosign verify-blob --bundle SHA256SUMS.sigstore.json \
		--certificate-identity "$identity" --certificate-oidc-issuer "$issuer" SHA256SUMS
}

# provenance ARTEFACT [--bundle FILE]: GitHub built it, in our release workflow, for this tag.
provenance() {
	gh attestation verify "$@" --repo "$repository" --cert-identity "$identity" --deny-self-hosted-runners
}

# digest_of REFERENCE: verifies the signature and prints the digest that is signed.
digest_of() {
	cosign verify --output json --certificate-identity "$identity" --certificate-oidc-issuer "$issuer" "$1" |
		grep -o '"docker-manifest-digest": *"sha256:[0-9a-f]*"' | grep -o 'sha256:[0-9a-f]*' | sort -u
}

# has_sbom REFERENCE: a bill of materials is attached and signed.
has_sbom() {
	cosign verify-attestation --type cyclonedx --certificate-identity "$identity" --certificate-oidc-issuer "$issuer" "$1"
}

verify_files() {
	check "SHA256SUMS: signature" signed_blob || return
	local file
	while read -r _ file; do
		check "$file: checksum" matches "$file" &&
			check "$file: provenance" provenance "$file" --bundle provenance.intoto.jsonl
	done <SHA256SUMS
	for file in *; do
		case $file in
		SHA256SUMS | SHA256SUMS.sigstore.json | provenance.intoto.jsonl) ;;
		*) [ -n "$(expected "$file")" ] || check "$file: checksum" matches "$file" ;;
		esac
	done
}

# verify_image NAME TAG: signature, and for an image provenance and bill of materials of
# exactly the digest that is signed.
verify_image() {
	local reference=$registry/$1 digest
	if ! digest=$(digest_of "$reference:$2") || [ -z "$digest" ]; then
		check "$reference:$2: signature" digest_of "$reference:$2"
		return
	fi
	echo "✓ $reference:$2: signature of $digest"
	case $1 in charts/*) return ;; esac # the file of the chart, above, has its provenance
	check "$reference:$2: provenance" provenance "oci://$reference@$digest"
	check "$reference:$2: bill of materials" has_sbom "$reference@$digest"
}

if [ -z "$dir" ]; then
	dir=$(mktemp -d) || exit 2
	temporary=$dir
	trap 'rm -rf "$temporary"' EXIT
fi
mkdir -p "$dir" && cd "$dir" || exit 2
if [ -n "$download" ]; then
	gh release download "$version" --repo "$repository" --dir . --clobber || exit 2
fi

verify_files
verify_image eni-agent "$version"
verify_image eni-coordinator "$version"
verify_image charts/aws-multi-eni "${version#v}"

if [ "$failed" -gt 0 ]; then
	echo "$failed checks failed: do not install $version" >&2
	exit 1
fi
echo "all checks passed: $repository built and signed $version from its tag"
