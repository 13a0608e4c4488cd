#!/bin/sh
# check.sh VERSION: whether this commit can be released as VERSION. The release workflow runs it
# before anything is built. It names everything that is wrong, not only the first.
set -u
cd "$(dirname "$0")/../.." || exit

version=${1:-} failed=
fail() {
	echo "✗ $1" >&2
	failed=1
}

if [ -n "$(git status --porcelain)" ]; then
	echo "✗ the working tree has changes: commit them first" >&2
	exit 1
fi

# Writing the version must change nothing.
if ! hack/release/set-version.sh "$version"; then
	exit 1
elif git diff --quiet; then
	echo "✓ chart, manifests, and documentation name $version"
else
	git --no-pager diff --stat >&2
	git checkout --quiet -- .
	fail "these files name another version: run 'make set-version VERSION=$version generate' and commit"
fi

if hack/release/notes.sh "$version" >/dev/null; then
	echo "✓ CHANGELOG.md has the release notes"
else
	fail "CHANGELOG.md has no release notes for $version"
fi
case $version in
*-*) ;;
*)
	grep -Eq "^## \[$(echo "${version#v}" | sed 's/\./\\./g')\] - [0-9]{4}-[0-9]{2}-[0-9]{2}\$" CHANGELOG.md ||
		fail "the heading in CHANGELOG.md must be '## [${version#v}] - YYYY-MM-DD'"
	if hack/release/notes.sh v0.0.0-unreleased >/dev/null 2>&1; then
		fail "CHANGELOG.md still has entries under Unreleased: move them to ${version#v}"
	fi
	;;
esac

# A release comes from a branch that reviews protect.
if git for-each-ref --contains HEAD --format='%(refname:short)' 'refs/remotes/origin/main' 'refs/remotes/origin/release-*' | grep -q .; then
	echo "✓ the commit is on main or on a release branch"
else
	fail "the commit is neither on origin/main nor on an origin/release-* branch: merge it first"
fi

# A tag that exists must be this commit.
if commit=$(git rev-parse --quiet --verify "refs/tags/$version^{commit}") && [ "$commit" != "$(git rev-parse HEAD)" ]; then
	fail "the tag $version is another commit, $commit: a version is never released twice"
fi

[ -z "$failed" ] || exit 1
echo "✓ $version can be released"
