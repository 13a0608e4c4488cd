#!/bin/sh
# fuzz.sh: every fuzz test of the tree, one after the other, for FUZZTIME each, or
# only those that match FUZZ. What fails is kept in testdata/fuzz beside the test,
# where `make test` runs it again: commit it together with what mends it.
set -eu
cd "$(dirname "$0")/.."

log=$(mktemp) && trap 'rm -f "$log"' EXIT
failed=
for file in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | grep -E -- "${FUZZ:-.}"); do
		echo "=== $name in ./$(dirname "$file") for ${FUZZTIME:-1m}"
		# Minimising what merely reached new code would take most of the time.
		if go test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 1x >"$log" 2>&1; then
			tail -n 3 "$log"
		elif ! grep -q 'Failing input written' "$log" && grep -q '^    context deadline exceeded$' "$log"; then
			tail -n 6 "$log" # the engine has taken the end of its time for a failure
		else
			cat "$log"
			failed="$failed $name"
		fi
	done
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
