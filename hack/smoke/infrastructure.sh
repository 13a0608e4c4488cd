# shellcheck shell=bash disable=SC2154,SC2034 # the settings are smoke.sh's
# infrastructure.sh: what smoke.sh creates, and how it removes it. Everything is named after the run
# or has its tag, so that cleanup needs no memory of what was created.

owner_tag=aws-multi-eni-smoke

preflight() {
	kubectl get --raw /readyz >/dev/null || die "kubectl cannot reach the cluster; check your kubeconfig"
	if kubectl get crd nodeenis.networking.k8s.aws >/dev/null 2>&1; then
		die "the cluster already has the CRD nodeenis.networking.k8s.aws; use a cluster in which nothing else serves NodeENIs"
	fi
	vpc=$(aws ec2 describe-subnets --subnet-ids "${subnets%%,*}" --query 'Subnets[0].VpcId' --output text)
	[[ $vpc == vpc-* ]] || die "EC2 does not show the subnet ${subnets%%,*} in this Region; set AWS_REGION"
	[ -n "$nodes" ] || [ "$(kubectl config view --minify --output 'jsonpath={.clusters[0].cluster.server}')" = \
		"$(aws eks describe-cluster --name "$cluster" --query cluster.endpoint --output text)" ] ||
		die "kubectl's current context is not the cluster $cluster"
}

create_infrastructure() {
	if [ -n "$nodes" ]; then
		local node
		for node in $(words "$nodes"); do
			kubectl label node "$node" --overwrite ng="$run" >/dev/null
		done
		return
	fi
	account=$(aws sts get-caller-identity --query Account --output text)
	partition=$(aws sts get-caller-identity --query Arn --output text | cut -d: -f2)
	region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region)}}
	kubectl -n kube-system get daemonset eks-pod-identity-agent >/dev/null ||
		die "the cluster has no EKS Pod Identity Agent, which the coordinator's role needs: aws eks create-addon --cluster-name $cluster --addon-name eks-pod-identity-agent"
	create_group
	create_roles
	create_nodes
}

create_group() {
	[ -z "$groups" ] || return 0
	say "creating the security group $run"
	groups=$(aws ec2 create-security-group --group-name "$run" --description "aws-multi-eni smoke test" --vpc-id "$vpc" \
		--tag-specifications "ResourceType=security-group,Tags=[{Key=$owner_tag,Value=$run}]" --query GroupId --output text)
	aws ec2 authorize-security-group-ingress --group-id "$groups" \
		--ip-permissions "IpProtocol=-1,UserIdGroupPairs=[{GroupId=$groups}]" >/dev/null
}

# policy FILE: a policy of packaging/iam for this account and run.
policy() {
	sed -e "s/PARTITION/$partition/" -e "s/REGION/$region/" -e "s/ACCOUNT_ID/$account/" -e "s/VPC_ID/$vpc/" \
		-e 's/, "USER_TAG_KEYS"//' -e "s/CLUSTER_ID/$tag/" "$here/../../packaging/iam/$1"
}

# role NAME SERVICE ACTIONS: creates a role that the service may assume.
role() {
	aws iam create-role --role-name "$1" --tags "Key=$owner_tag,Value=$run" --assume-role-policy-document \
		"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"$2\"},\"Action\":$3}]}" \
		--query Role.Arn --output text
}

create_roles() {
	local suffix=amazonaws.com managed
	[ "$partition" != aws-cn ] || suffix=amazonaws.com.cn
	say "creating the roles $run-node and $run-coordinator"
	node_role=$(role "$run-node" "ec2.$suffix" '["sts:AssumeRole"]')
	for managed in AmazonEKSWorkerNodePolicy AmazonEC2ContainerRegistryReadOnly; do
		aws iam attach-role-policy --role-name "$run-node" --policy-arn "arn:$partition:iam::aws:policy/$managed"
	done
	if ! vpc_cni_has_role; then
		say "the VPC CNI of the cluster has no role, so the nodes get AmazonEKS_CNI_Policy, which undoes the agents' confinement"
		aws iam attach-role-policy --role-name "$run-node" --policy-arn "arn:$partition:iam::aws:policy/AmazonEKS_CNI_Policy"
		unconfined='the role of the nodes has AmazonEKS_CNI_Policy, because the VPC CNI has no role'
	fi
	aws iam put-role-policy --role-name "$run-node" --policy-name agent --policy-document "$(policy agent.json)"
	local coordinator
	coordinator=$(role "$run-coordinator" pods.eks.amazonaws.com '["sts:AssumeRole","sts:TagSession"]')
	aws iam put-role-policy --role-name "$run-coordinator" --policy-name coordinator --policy-document "$(policy coordinator.json)"
	sleep 15 # IAM is eventually consistent
	aws eks create-pod-identity-association --cluster-name "$cluster" --namespace eni-system --service-account eni-coordinator \
		--role-arn "$coordinator" --tags "$owner_tag=$run" >/dev/null
}

vpc_cni_has_role() {
	[ -n "$(aws eks list-pod-identity-associations --cluster-name "$cluster" --namespace kube-system --service-account aws-node --query 'associations[].associationId' --output text)" ] ||
		kubectl -n kube-system get serviceaccount aws-node --output yaml | grep -q 'eks.amazonaws.com/role-arn'
}

create_nodes() {
	say "creating the node group $run with two $type: this takes about 3 minutes"
	# shellcheck disable=SC2046 # one word for each subnet
	aws eks create-nodegroup --cluster-name "$cluster" --nodegroup-name "$run" --node-role "$node_role" \
		--subnets $(words "$subnets") --instance-types "$type" --scaling-config minSize=2,maxSize=2,desiredSize=2 \
		--labels "ng=$run" --tags "$owner_tag=$run" >/dev/null
	aws eks wait nodegroup-active --cluster-name "$cluster" --nodegroup-name "$run"
	nodes=$(kubectl get nodes --selector "ng=$run" --output 'jsonpath={.items[*].metadata.name}' | tr ' ' ',')
}

has_multus() { kubectl get crd network-attachment-definitions.k8s.cni.cncf.io >/dev/null 2>&1; }

install_chart() {
	local pods=false
	! has_multus || pods=true
	say "installing the chart"
	# shellcheck disable=SC2086 # flags are words
	helm upgrade --install "$run" "$chart" --namespace eni-system --create-namespace --wait --timeout 5m \
		--set clusterName="$tag" --set nodeSelector.ng="$run" --set crds.keep=false --set pods.enabled=$pods $helm_flags >/dev/null
	kubectl -n eni-system wait --for=condition=Available deployment/eni-coordinator --timeout 3m >/dev/null
	kubectl -n eni-system rollout status daemonset/eni-agent --timeout 3m >/dev/null
}

# cleanup removes what the run created, in the order in which that is possible, and lists what
# remains. Each step is done even if another one failed.
cleanup() {
	say "cleaning up the run $run"
	kubectl delete namespace "$run" --ignore-not-found --wait=false >/dev/null || true
	if kubectl get crd nodeenis.networking.k8s.aws >/dev/null 2>&1; then
		kubectl delete nodeenis --selector "$owner_tag=$run" --ignore-not-found --timeout 3m >/dev/null || say "the NodeENIs are still being deleted"
	fi
	uninstall_chart
	kubectl label nodes --selector "ng=$run" ng- >/dev/null 2>&1 || true
	[ -z "$cluster" ] || remove_from_eks || true
	remove_enis
	[ -z "$cluster" ] || remove_group
	leftover
}

# our_crds: the CRDs that the chart of this run has installed, and not another installation.
our_crds() {
	kubectl get crds nodeenis.networking.k8s.aws nodeenistates.networking.k8s.aws --ignore-not-found --output \
		"jsonpath={range .items[?(@.metadata.annotations.meta\.helm\.sh/release-name==\"$run\")]}{.metadata.name}{\"\n\"}{end}"
}

uninstall_chart() {
	local crd
	if helm status "$run" --namespace eni-system >/dev/null 2>&1; then
		helm uninstall "$run" --namespace eni-system --wait --timeout 6m >/dev/null ||
			{ say "helm uninstall failed, trying without its Job" && helm uninstall "$run" --namespace eni-system --no-hooks >/dev/null; } || true
		kubectl delete namespace eni-system --ignore-not-found --timeout 2m >/dev/null || true
	fi
	for crd in $(our_crds); do
		kubectl delete crd "$crd" --timeout 2m >/dev/null || true
	done
}

remove_from_eks() {
	local association name arn policy_name
	for association in $(aws eks list-pod-identity-associations --cluster-name "$cluster" --namespace eni-system --service-account eni-coordinator \
		--query 'associations[].associationId' --output text); do
		aws eks delete-pod-identity-association --cluster-name "$cluster" --association-id "$association" >/dev/null
	done
	if aws eks describe-nodegroup --cluster-name "$cluster" --nodegroup-name "$run" >/dev/null 2>&1; then
		say "deleting the node group: this takes about 5 minutes"
		aws eks delete-nodegroup --cluster-name "$cluster" --nodegroup-name "$run" >/dev/null || true
		aws eks wait nodegroup-deleted --cluster-name "$cluster" --nodegroup-name "$run" || true
	fi
	for name in "$run-node" "$run-coordinator"; do
		aws iam get-role --role-name "$name" >/dev/null 2>&1 || continue
		for arn in $(aws iam list-attached-role-policies --role-name "$name" --query 'AttachedPolicies[].PolicyArn' --output text); do
			aws iam detach-role-policy --role-name "$name" --policy-arn "$arn"
		done
		for policy_name in $(aws iam list-role-policies --role-name "$name" --query PolicyNames --output text); do
			aws iam delete-role-policy --role-name "$name" --policy-name "$policy_name"
		done
		aws iam delete-role --role-name "$name"
	done
}

# remove_enis deletes the ENIs that have the tag of this run, and counts them as a failure: the
# coordinator should have deleted them.
remove_enis() {
	local eni status instance attachment
	wait_for 120 "the coordinator deletes all ENIs" no_enis && return
	while read -r eni status instance; do
		fail "$eni ($status, instance $instance) was leaked; deleting it"
		attachment=$(aws ec2 describe-network-interfaces --network-interface-ids "$eni" --query 'NetworkInterfaces[0].Attachment.AttachmentId' --output text)
		case $attachment in
		eni-attach-*) aws ec2 detach-network-interface --attachment-id "$attachment" || true ;;
		esac
		wait_for 60 "$eni is detached" available "$eni" && aws ec2 delete-network-interface --network-interface-id "$eni"
	done < <(our_enis)
}

available() { [ "$(aws ec2 describe-network-interfaces --network-interface-ids "$1" --query 'NetworkInterfaces[0].Status' --output text)" = available ]; }

remove_group() {
	local id
	for id in $(aws ec2 describe-security-groups --filters "Name=tag:$owner_tag,Values=$run" --query 'SecurityGroups[].GroupId' --output text); do
		wait_for 120 "EC2 lets go of the security group $id" aws ec2 delete-security-group --group-id "$id" || true
	done
}

# leftover lists everything of the run that still exists, and fails if there is something.
leftover() {
	local found=''
	found+=$(our_enis)
	found+=$(kubectl get namespaces "$run" --ignore-not-found --output name || true)$(our_crds || true)
	if [ -n "$cluster" ]; then
		found+=$(aws ec2 describe-security-groups --filters "Name=tag:$owner_tag,Values=$run" --query 'SecurityGroups[].GroupId' --output text)
		found+=$(aws iam list-roles --query "Roles[?starts_with(RoleName, '$run-')].RoleName" --output text)
		found+=$(aws eks list-nodegroups --cluster-name "$cluster" --query "nodegroups[?@=='$run']" --output text)
	fi
	if [ -n "$found" ]; then
		say "still exists, remove it yourself or run cleanup again: $found"
		return 1
	fi
	say "nothing of the run $run is left"
}
