# shellcheck shell=bash disable=SC2154 # the settings are smoke.sh's
# lib.sh: output, waiting, and results of smoke.sh.

results=() failures=0

say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*"; }
die() { printf 'smoke.sh: %s\n' "$*" >&2; exit 1; }

pass() { results+=("✓ $*"); say "✓ $*"; }
skip() { results+=("– $*"); say "– $*"; }
fail() { results+=("✗ $*"); failures=$((failures + 1)); say "✗ $*"; }

# summary prints the results again, and fails when one did.
summary() {
	echo
	[ ${#results[@]} -eq 0 ] || printf '%s\n' "${results[@]}"
	[ "$failures" -eq 0 ]
}

require() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || die "$tool is missing; install it"
	done
}

# wait_for SECONDS DESCRIPTION COMMAND...: until the command succeeds; fails when it does not in time.
wait_for() {
	local seconds=$1 description=$2 end
	shift 2
	end=$(($(date +%s) + seconds))
	until "$@" >/dev/null 2>&1; do
		if [ "$(date +%s)" -ge "$end" ]; then
			say "gave up after $seconds s of waiting: $description"
			return 1
		fi
		sleep 1
	done
}

# words A,B: the parts of a list, one on each line.
words() { tr ',' '\n' <<<"$1"; }

# state NODE FIELD: a field of the ENI of the run in the report of a node.
state() { kubectl get nodeenistate "$1" --output "jsonpath={.status.enis[?(@.nodeENI==\"$run\")].$2}"; }

# our_enis: the ids of the ENIs with the tag of this run, with their states.
our_enis() {
	aws ec2 describe-network-interfaces --filters "Name=tag:networking.k8s.aws/cluster,Values=$tag" \
		--query 'NetworkInterfaces[].[NetworkInterfaceId,Status,Attachment.InstanceId]' --output text
}
no_enis() { [ -z "$(our_enis)" ]; }
enis_are() { [ "$(our_enis | grep -c .)" -eq "$1" ]; }
