#!/bin/sh
# run-agent.sh: a standalone agent of the working tree on a simulated node, without AWS and without
# Kubernetes. The simulator's output and the agent's files are in bin/run-agent.
# AGENT_FLAGS and SIM_FLAGS are passed on, such as AGENT_FLAGS=--log-level=debug SIM_FLAGS=--throttle.
set -eu
cd "$(dirname "$0")/.."

dir=bin/run-agent
rm -rf "$dir" && mkdir -p "$dir/nodeeni.d"
cp examples/host-addressing.yaml "$dir/nodeeni.d/"

# shellcheck disable=SC2086 # flags are words
bin/eni-sim --nodes 1 --ec2-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 ${SIM_FLAGS:-} >"$dir/eni-sim.log" 2>&1 &
simulator=$!
trap 'kill $simulator 2>/dev/null; wait $simulator' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
until grep -q '^Ctrl-C ends it' "$dir/eni-sim.log"; do
	kill -0 $simulator 2>/dev/null || { cat "$dir/eni-sim.log" >&2; exit 1; }
	sleep 0.1
done
value() { sed -n "s|$1||p" "$dir/eni-sim.log"; }
ENI_SIM_ADMIN=$(value '^Admin endpoint: ')
export ENI_SIM_ADMIN

cat <<TEXT
The simulated instance node-1 is an m5.xlarge in us-east-1a. Its NodeENI is
  $PWD/$dir/nodeeni.d/data.yaml
Edit and save that file, or add another one: the agent carries the change out. Press Ctrl-C to stop.
In another terminal, at the top of the source tree:

  export ENI_SIM_ADMIN=$ENI_SIM_ADMIN
  bin/eni-sim exec node-1 -- ip -br addr                       the links of the node
  bin/eni-agent status --state-file=$dir/state.json       the agent's report
  curl -s \$ENI_SIM_ADMIN/counts                                the EC2 calls so far
  export AWS_ENDPOINT_URL_EC2=$(value '^ *export AWS_ENDPOINT_URL_EC2=') AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated
  aws ec2 describe-network-interfaces                          the ENIs in the simulated EC2

TEXT
# shellcheck disable=SC2086
bin/eni-sim exec node-1 -- "$PWD/bin/eni-agent" --nodeeni-dir="$dir/nodeeni.d" --state-file="$dir/state.json" \
	--node-labels=ng=multi-eni ${AGENT_FLAGS:-}
