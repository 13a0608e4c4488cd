#!/usr/bin/env bash
# smoke.sh: checks the claims of the README against a real AWS account, in about half an hour, and
# removes everything that it created, also when it fails or you press Ctrl-C.
#
# NOBODY HAS EVER RUN THIS SCRIPT AGAINST AWS as part of the development of aws-multi-eni: the
# project has no account. Its Kubernetes and EC2 parts ran against a real API server, real kubelets,
# and the simulated EC2; its EKS, IAM, and Multus parts never ran. Read it before you run it.
#
# It costs money: without --use-nodes two m6i.large instances for about half an hour, less than one
# US dollar in most Regions. It needs bash, aws (version 2), kubectl, and helm, and a kubeconfig
# whose current context is the cluster. Do not use a production cluster.
#
#   smoke.sh --yes --cluster NAME --subnets ID,ID [flags]
#       creates a security group, two IAM roles, and a managed node group with two nodes
#   smoke.sh --yes --use-nodes NODE,NODE --subnets ID,ID --security-groups ID [flags]
#       uses nodes that exist, whose roles have the policies of packaging/iam already, with
#       --cluster-tag as CLUSTER_ID. The script terminates the last one.
#   smoke.sh cleanup --run RUN [--cluster NAME]
#       removes what an interrupted run left; the script prints RUN at its start
#
#   --yes                   required: you accept what is above
#   --cluster NAME          the EKS cluster
#   --subnets ID,ID         the subnets of the ENIs and of the node group
#   --security-groups ID    the security groups of the ENIs; they must allow all traffic among the ENIs
#   --use-nodes NODE,NODE   use these two nodes; no call to EKS and IAM
#   --cluster-tag VALUE     with --use-nodes: the value of the ENIs' tag networking.k8s.aws/cluster
#   --instance-type TYPE    of the node group (default m6i.large)
#   --chart CHART           (default packaging/helm/aws-multi-eni of this tree)
#   --helm-flags FLAGS      further flags for helm, such as "--version 0.1.0"
#   --image IMAGE           an image with sh, ip, and ping (default public.ecr.aws/docker/library/busybox:stable)
#   --aws-image IMAGE       an image with aws (default public.ecr.aws/aws-cli/aws-cli:latest)
#   --keep                  do not remove anything at the end; run cleanup later
# shellcheck disable=SC2034,SC1091 # the other files use the settings
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"
# shellcheck source=infrastructure.sh
. "$here/infrastructure.sh"
# shellcheck source=claims.sh
. "$here/claims.sh"

usage() {
	[ $# -eq 0 ] || printf 'smoke.sh: %s\n\n' "$1" >&2
	sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//p;}' "$0" >&2
	exit 2
}

# Settings, and what the steps find out. RUN names everything that the script creates.
command=run yes='' cluster='' subnets='' groups='' nodes='' tag='' run='' keep=''
type=m6i.large chart=$here/../../packaging/helm/aws-multi-eni helm_flags=''
image=public.ecr.aws/docker/library/busybox:stable aws_image=public.ecr.aws/aws-cli/aws-cli:latest

parse() {
	[ "${1:-}" != cleanup ] || { command=cleanup; shift; }
	while [ $# -gt 0 ]; do
		case $1 in
		--yes) yes=1 && shift && continue ;;
		--keep) keep=1 && shift && continue ;;
		-h | --help) usage ;;
		esac
		[ $# -gt 1 ] || usage "$1 needs a value, or does not exist"
		case $1 in
		--cluster) cluster=$2 ;;
		--subnets) subnets=$2 ;;
		--security-groups) groups=$2 ;;
		--use-nodes) nodes=$2 ;;
		--cluster-tag) tag=$2 ;;
		--instance-type) type=$2 ;;
		--chart) chart=$2 ;;
		--helm-flags) helm_flags=$2 ;;
		--image) image=$2 ;;
		--aws-image) aws_image=$2 ;;
		--run) run=$2 ;;
		*) usage "there is no flag $1" ;;
		esac
		shift 2
	done
	if [ $command = cleanup ]; then
		[ -n "$run" ] || usage "cleanup needs --run"
		return
	fi
	[ -n "$yes" ] || usage "nothing happens without --yes: read the text below first"
	[ -n "$subnets" ] || usage "--subnets is missing"
	if [ -n "$nodes" ]; then
		[ -n "$groups" ] || usage "--use-nodes needs --security-groups"
	else
		[ -n "$cluster" ] || usage "--cluster is missing"
	fi
}

main() {
	parse "$@"
	require aws kubectl helm
	run=${run:-smoke-$(date -u +%m%d%H%M%S)-$$}
	tag=${tag:-aws-multi-eni-$run}
	if [ $command = cleanup ]; then
		cleanup
		exit
	fi
	say "run $run in the cluster of context $(kubectl config current-context)"
	say "if this script dies: $0 cleanup --run $run${cluster:+ --cluster $cluster}${tag:+ --cluster-tag $tag}"
	preflight
	trap 'finish $?' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	create_infrastructure
	install_chart
	check_claims
}

# finish STATUS: runs at the end, whatever the end is.
finish() {
	trap - EXIT
	trap '' INT TERM # cleaning up is not interrupted
	local status=$1
	[ "$status" -eq 0 ] || diagnose || true
	if [ -n "$keep" ]; then
		say "kept everything: $0 cleanup --run $run${cluster:+ --cluster $cluster} --cluster-tag $tag"
	else
		cleanup || status=1
	fi
	summary || status=1
	exit "$status"
}

main "$@"
