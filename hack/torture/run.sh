#!/bin/sh
# Puts agents and coordinators through faults for long; CONTRIBUTING.md tells
# more. `make torture` runs it at the top of the tree, with RUNS, SEED, OPS,
# CLUSTERS, AT_ONCE and TORTURE in the environment.
set -eu

[ -n "$SEED" ] || RUNS=${RUNS:-200}

assets=$(SCHEDULING=1 hack/controlplane/build.sh)
race=-race
if [ "$(go env CGO_ENABLED)" != 1 ] || ! command -v "$(go env CC | cut -d' ' -f1)" >/dev/null; then
	race=
	echo "There is no C compiler: running without -race, so data races go unnoticed." >&2
fi
mkdir -p bin
# shellcheck disable=SC2086 # no flag at all when it is empty
go test -c $race -o bin/e2e.test ./e2e

logs=$(mktemp -d "${TMPDIR:-/tmp}/aws-multi-eni-torture-XXXXXX")
status=0
# The tests' own output is long and comes at the end: what is going on is told on
# stderr.
(
	cd e2e
	KUBEBUILDER_ASSETS=$assets ENI_LOGS=$logs \
		ENI_RUNS=$RUNS ENI_SEED=$SEED ENI_OPS=$OPS ENI_CLUSTERS=${CLUSTERS:-2} ENI_AT_ONCE=${AT_ONCE:-} \
		exec ../bin/e2e.test -test.run "^($TORTURE)\$" -test.timeout 0 -test.parallel 4
) >"$logs/test.log" || status=$?
if [ "$status" = 0 ]; then
	rm -r "$logs"
	echo "torture: all is well" >&2
else
	grep -E '^ *(--- FAIL|panic:)' "$logs/test.log" >&2 || true
	echo "torture: FAILED; the tests' output is $logs/test.log" >&2
fi
exit "$status"
