# shellcheck shell=bash disable=SC2154 # the settings are smoke.sh's
# claims.sh: what the README claims, checked one after the other. A claim that fails does not stop
# the others.

check_claims() {
	first=${nodes%%,*} last=${nodes##*,}
	[ "$first" != "$last" ] || die "two nodes are needed, there is only $first"
	start_probes
	claim_ready
	claim_host_network
	claim_repairs
	claim_restarts
	claim_confinement
	claim_pods
	claim_deletion
	claim_termination
}

# start_probes: a privileged pod on each node, in the network and process namespaces of the node.
start_probes() {
	local node
	kubectl create namespace "$run" >/dev/null
	kubectl label namespace "$run" pod-security.kubernetes.io/enforce=privileged >/dev/null
	for node in $(words "$nodes"); do
		kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: probe-$node, namespace: $run}
spec:
  nodeName: $node
  hostNetwork: true
  hostPID: true
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: probe
    image: $image
    command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"]
    securityContext: {privileged: true}
YAML
	done
	kubectl -n "$run" wait --for=condition=Ready pod --all --timeout 3m >/dev/null
}

# on NODE COMMAND...: runs it on the node.
on() { local node=$1; shift; kubectl -n "$run" exec "probe-$node" -- "$@"; }

# apply_nodeeni NAME MTU [MORE]: a NodeENI for the nodes of the run.
apply_nodeeni() {
	kubectl apply -f - >/dev/null <<YAML
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: $1, labels: {$owner_tag: $run}}
spec:
  nodeSelector: {ng: $run}
  subnetIDs: [$subnets]
  securityGroupIDs: [$groups]
  deleteOnTermination: true
  mtu: $2
  ${3:-addressing: Host}
YAML
}

all_ready() { kubectl get nodeeni "$1" --output 'jsonpath={.status.nodes.ready}/{.status.nodes.matching} {.status.observedGeneration} {.metadata.generation}' | awk '$1 == "2/2" && $2 == $3 { ok = 1 } END { exit !ok }'; }

claim_ready() {
	local start
	say "creating the NodeENI $run"
	start=$(date +%s)
	apply_nodeeni "$run" 9001
	if wait_for 120 "the NodeENI is ready on both nodes" all_ready "$run"; then
		pass "both nodes have their ENI, Ready $(($(date +%s) - start)) s after the NodeENI was created"
	else
		fail "the NodeENI is not ready on both nodes after 120 s"
	fi
	if enis_are 2; then pass "EC2 has exactly two ENIs with the tag of the run"; else fail "EC2 has these ENIs: $(our_enis)"; fi
}

# link NODE, address NODE: of the ENI, as the agent reports them.
link() { state "$1" interfaceName; }
address() { state "$1" 'addresses[0]'; }
mtu_is() { [ "$(on "$1" cat "/sys/class/net/$(link "$1")/mtu")" = "$2" ]; }
has_address() { on "$1" ip -4 addr show dev "$(link "$1")" | grep -q "inet $(address "$1")/"; }
ping_last() { on "$first" ping -c 3 -I "$(address "$first")" "$(address "$last")"; }

claim_host_network() {
	local node
	for node in $(words "$nodes"); do
		if mtu_is "$node" 9001; then pass "$node: the link $(link "$node") has MTU 9001"; else fail "$node: the link $(link "$node") does not have MTU 9001"; fi
	done
	if wait_for 15 "a ping from ENI to ENI" ping_last; then
		pass "addressing Host: $(address "$first") on $first reaches $(address "$last") on $last"
	else
		fail "addressing Host: $(address "$first") on $first does not reach $(address "$last") on $last; do the security groups allow it?"
	fi
}

claim_repairs() {
	apply_nodeeni "$run" 1500
	if wait_for 30 "the new MTU" mtu_is "$first" 1500; then pass "a new MTU is set on the living ENI"; else fail "the new MTU is not set within 30 s"; fi
	apply_nodeeni "$run" 9001
	on "$first" ip -4 addr flush dev "$(link "$first")" || true
	if wait_for 15 "the deleted address is back" has_address "$first"; then pass "an address that another program deletes is back"; else fail "a deleted address is not back after 15 s"; fi
}

agent_pod() { kubectl -n eni-system get pods --selector app.kubernetes.io/component=agent --field-selector "spec.nodeName=$1" --output 'jsonpath={.items[0].metadata.name}'; }
# kill_agent NODE: kill -9, from the process namespace of the node. The cgroup names the pod, so that
# no other program of that name is hit.
kill_agent() {
	local uid
	uid=$(kubectl -n eni-system get pod "$(agent_pod "$1")" --output 'jsonpath={.metadata.uid}')
	# shellcheck disable=SC2016 # the shell on the node expands it
	on "$1" sh -c 'for p in /proc/[0-9]*; do
		[ "$(cat "$p/comm" 2>/dev/null)" = eni-agent ] && tr _ - <"$p/cgroup" | grep -q "pod$1" && exec kill -9 "${p#/proc/}"
	done; exit 1' sh "$uid" || fail "no process of the agent was found on $1"
}

# claim_restarts kills an agent that has its ENI, and then one that is creating an ENI.
claim_restarts() {
	local before second=$run-second
	before=$(our_enis)
	kill_agent "$first"
	sleep 10
	if [ "$(our_enis)" = "$before" ] && has_address "$first"; then pass "kill -9 of an agent changes nothing"; else fail "kill -9 of an agent changed: $before to $(our_enis)"; fi
	wait_for 120 "the agent runs again" kubectl -n eni-system wait --for=condition=Ready "pod/$(agent_pod "$first")" --timeout 5s || fail "the agent does not run again"
	apply_nodeeni "$second" 0
	sleep 1
	kill_agent "$first"
	wait_for 180 "the second NodeENI is ready" all_ready "$second" || fail "the NodeENI $second is not ready after an agent was killed while it created its ENI"
	sleep 5
	if enis_are 4; then pass "kill -9 of an agent that creates an ENI: no second one"; else fail "kill -9 of an agent that creates an ENI, EC2 has: $(our_enis)"; fi
	kubectl delete nodeeni "$second" --timeout 3m >/dev/null || fail "the NodeENI $second is not deleted within 3 minutes"
	if enis_are 2; then pass "a deleted NodeENI leaves no ENI"; else fail "a deleted NodeENI leaves ENIs: $(our_enis)"; fi
}

# claim_confinement: what a thief of the credentials of the node could do, by dry runs.
claim_confinement() {
	if [ -n "${unconfined:-}" ]; then
		skip "IAM confinement: not checked, $unconfined"
		return
	elif [ -z "$cluster" ]; then
		skip "IAM confinement: not checked with --use-nodes"
		return
	fi
	local own other attachment instance
	own=$(state "$first" eniID) other=$(state "$last" eniID) attachment=$(state "$first" attachmentID)
	instance=$(kubectl get nodeenistate "$last" --output 'jsonpath={.status.instanceID}')
	kubectl -n "$run" run thief --image "$aws_image" --restart Never --overrides \
		"{\"spec\":{\"nodeName\":\"$first\",\"hostNetwork\":true,\"tolerations\":[{\"operator\":\"Exists\"}]}}" \
		--env "AWS_DEFAULT_REGION=$region" --command -- sleep 600 >/dev/null
	kubectl -n "$run" wait --for=condition=Ready pod/thief --timeout 3m >/dev/null || { fail "IAM confinement: the pod thief does not start"; return; }
	# The control: the credentials work at all.
	dry_run DryRunOperation modify-network-interface-attribute --network-interface-id "$own" --description smoke
	dry_run UnauthorizedOperation modify-network-interface-attribute --network-interface-id "$other" --description smoke
	dry_run UnauthorizedOperation detach-network-interface --attachment-id "$attachment"
	dry_run UnauthorizedOperation delete-network-interface --network-interface-id "$own"
	dry_run UnauthorizedOperation attach-network-interface --network-interface-id "$own" --instance-id "$instance" --device-index 9
	dry_run UnauthorizedOperation create-network-interface --subnet-id "${subnets%%,*}"
}

# dry_run CODE CALL...: EC2 answers the call with this code, with the credentials of the node.
dry_run() {
	local code=$1 output
	shift
	output=$(kubectl -n "$run" exec thief -- aws ec2 "$@" --dry-run 2>&1 || true)
	case $output in
	*"($code)"*) pass "IAM: $1 ${*:2:2} gives $code" ;;
	*) fail "IAM: $* does not give $code, but: $output" ;;
	esac
}

pod_address() { kubectl -n "$run" exec "$1" -- ip -4 -o addr show dev net1 | awk '{ sub("/.*", "", $4); print $4 }'; }
ping_pod() { kubectl -n "$run" exec "$1" -- ping -c 3 -I net1 "$2"; }

claim_pods() {
	if ! has_multus; then
		skip "networks in pods: not checked, Multus is not installed"
		return
	fi
	local pods=$run-pods node
	apply_nodeeni "$pods" 0 'ipv4: {prefixes: 1}
  pods: {}'
	wait_for 120 "the NodeENI for pods is ready" all_ready "$pods" || { fail "the NodeENI for pods is not ready"; return; }
	kubectl apply -f - >/dev/null <<YAML
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: smoke, namespace: $run}
spec: {config: '{"cniVersion": "1.0.0", "name": "smoke", "type": "eni", "nodeENI": "$pods"}'}
YAML
	for node in "$first" "$last"; do
		kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: pod-$node, namespace: $run, annotations: {k8s.v1.cni.cncf.io/networks: smoke}}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 0
  containers:
  - {name: pod, image: "$image", command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"], resources: {limits: {networking.k8s.aws/$pods: 1}}}
YAML
	done
	kubectl -n "$run" wait --for=condition=Ready "pod/pod-$first" "pod/pod-$last" --timeout 3m >/dev/null || { fail "pods with an address of an ENI do not start"; return; }
	if wait_for 15 "a ping from pod to pod" ping_pod "pod-$first" "$(pod_address "pod-$last")"; then
		pass "a pod on $first reaches one on $last through the ENIs"
	else
		fail "a pod on $first does not reach one on $last through the ENIs"
	fi
	kubectl -n "$run" delete pod "pod-$first" "pod-$last" --wait >/dev/null
	kubectl delete nodeeni "$pods" --timeout 3m >/dev/null || fail "the NodeENI $pods is not deleted within 3 minutes"
}

claim_deletion() {
	kubectl label node "$first" ng- >/dev/null
	if wait_for 120 "the ENI of a node without the label is deleted" enis_are 1; then pass "a node that loses its label loses its ENI"; else fail "the ENI of a node without the label still exists: $(our_enis)"; fi
	kubectl label node "$first" ng="$run" >/dev/null
	wait_for 120 "the node has an ENI again" all_ready "$run" || fail "a node that gets its label back does not get an ENI"
}

enis_of_last() { aws ec2 describe-network-interfaces --filters "Name=tag:networking.k8s.aws/cluster,Values=$tag" "Name=tag:networking.k8s.aws/node,Values=$last" --query 'NetworkInterfaces[].NetworkInterfaceId' --output text; }
none_of_last() { [ -z "$(enis_of_last)" ]; }

claim_termination() {
	local instance
	instance=$(kubectl get nodeenistate "$last" --output 'jsonpath={.status.instanceID}')
	say "terminating the instance $instance of $last"
	aws ec2 terminate-instances --instance-ids "$instance" >/dev/null
	if wait_for 600 "no ENI of $last exists" none_of_last; then pass "the ENI of a terminated node is gone"; else fail "ENIs of the terminated node $last exist: $(enis_of_last)"; fi
}

# diagnose shows what helps to understand a failure, before cleanup removes it.
diagnose() {
	say "the state of the cluster:"
	kubectl get nodeenis,nodeenistates --output wide || true
	kubectl -n eni-system get pods --output wide || true
	kubectl -n eni-system logs --selector app.kubernetes.io/name=aws-multi-eni --tail 20 --prefix || true
}
