package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// The programs that docs/getting-started-eks.md calls, as far as their outputs matter to the
// commands that follow. Each call is logged, and policies are kept. helm renders.
const recorder = `#!/bin/bash
set -eu
program=${0##*/}
echo "$program $*" >>"$LOG"
for argument; do
	case $argument in
	file://*) cp "${argument#file://}" "$KEPT/$(date +%s%N)-${argument##*/}" ;;
	esac
done
case "$program $*" in
*--query\ Account*) echo 111122223333 ;;
*--query\ Arn*) echo arn:aws-us-gov:iam::111122223333:user/you ;;
*vpcId*) echo vpc-0a1b2c3d4e5f60718 ;;
*nodegroup.nodeRole*) echo arn:aws-us-gov:iam::111122223333:role/some/path/my-node-role ;;
*identity.oidc.issuer*) echo https://oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE ;;
*create-security-group*) echo sg-0a1b2c3d4e5f60718 ;;
*describe-subnets*SubnetId*) printf 'subnet-1\tsubnet-2\n' ;;
*list-pod-identity-associations*) echo a-123 ;;
*kube-system\ -o*) echo 2f1c4b5e-0d7a-4a53-8f2e-9c2b7d6e1a30 ;;
*oneline*) echo '3: net1    inet 10.0.241.16/24 brd 10.0.241.255 scope global net1' ;;
helm\ install*)
	shift 2 # install eni
	chart=$1
	[ "$chart" = oci://ghcr.io/aws-multi-eni/charts/aws-multi-eni ]
	shift
	args=
	while [ $# -gt 0 ]; do
		case $1 in
		--version) shift ;;
		*) args+=" $1" ;;
		esac
		shift
	done
	"$HELM" template eni "$TREE/packaging/helm/aws-multi-eni" $args >"$KEPT/chart-$(date +%s%N).yaml"
	;;
git\ clone*) mkdir aws-multi-eni && cp -r "$TREE/packaging" "$TREE/examples" aws-multi-eni ;;
kubectl\ *\ -f\ -) cat >/dev/null ;;
kubectl\ *\ -f\ examples/*) [ -f "${*: -1}" ] ;;
esac
`

// TestGettingStarted runs the commands of the page in their order, in one shell that stops at
// the first error and at variables without a value. TestManifests applies the manifests.
func TestGettingStarted(t *testing.T) {
	const path = "docs/getting-started-eks.md"
	if err := testbed.ReadTree("../packaging/helm/aws-multi-eni", ""); err != nil {
		t.Fatal(err)
	}
	script := "set -eu\n"
	for _, b := range parse(path, read(t, path)).blocks {
		if b.lang == "sh" {
			script += b.text
		}
	}
	// What is deleted in the middle of the page is needed by its alternative at the end.
	script = strings.Replace(script, `rm -r "$WORK"`, "", 1)
	dir, kept := t.TempDir(), t.TempDir()
	for _, name := range []string{"aws", "kubectl", "helm", "git"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(recorder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(kept, "log")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TMPDIR="+t.TempDir(), "HELM="+helm(t), "LOG="+log, "KEPT="+kept, "TREE="+tree)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	checkDocuments(t, kept)
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--availability-zone us-east-1b --cidr-block 10.0.241.0/24",
		"attach-role-policy --role-name my-node-role --policy-arn arn:aws-us-gov:iam::111122223333:policy/my-cluster-eni-agent",
		"ping -c 3 -I net1 10.0.241.16\n",
		"delete-subnet --subnet-id subnet-2\n",
	} {
		if !strings.Contains(string(calls), want) {
			t.Errorf("the page calls nothing with %q:\n%s", want, calls)
		}
	}
	checkOrder(t, string(calls))
}

// checkOrder: what is needed exists when it is needed, and what is created is deleted.
func checkOrder(t *testing.T, calls string) {
	t.Helper()
	last := -1
	for _, call := range []string{
		"create-pod-identity-association", "helm install", "delete statefulset/ping", "delete network-attachment-definition/demo",
		"helm uninstall", "delete crd nodeenis", "delete-pod-identity-association", "delete-role --role-name my-cluster-eni-coordinator",
		"delete-policy", "delete-security-group", "delete-subnet",
	} {
		at := strings.Index(calls, call)
		if at <= last {
			t.Errorf("%q is at %d of the calls, after what has to follow it, or not at all", call, at)
		}
		last = at
	}
	for created, deleted := range map[string]string{"create-policy": "delete-policy", "create-subnet": "delete-subnet"} {
		if c, d := strings.Count(calls, " "+created), strings.Count(calls, " "+deleted); c != d {
			t.Errorf("%d × %s and %d × %s", c, created, d, deleted)
		}
	}
}

var leftPlaceholder = regexp.MustCompile(`PARTITION|REGION|ACCOUNT_ID|VPC_ID|CLUSTER_ID|USER_TAG_KEYS|\$[A-Z]`)

// checkDocuments: policies are JSON without placeholders, and charts could be rendered.
func checkDocuments(t *testing.T, dir string) {
	t.Helper()
	count, irsa := map[string]int{}, false
	for _, pattern := range []string{"*.json", "*.yaml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, kind, _ := strings.Cut(filepath.Base(file), "-")
			switch {
			case pattern == "*.yaml":
				kind = "chart"
				irsa = irsa || strings.Contains(string(text), "eks.amazonaws.com/role-arn: arn:aws-us-gov:iam::111122223333:role/my-cluster-eni-coordinator")
				if !strings.Contains(string(text), "- --pods\n") {
					t.Errorf("the chart is installed without pods.enabled:\n%s", text)
				}
			case !json.Valid(text):
				t.Errorf("%s is not JSON:\n%s", kind, text)
			default:
				if left := leftPlaceholder.FindString(string(text)); left != "" {
					t.Errorf("%s has %s:\n%s", kind, left, text)
				}
			}
			count[kind]++
		}
	}
	if count["agent.json"] != 1 || count["coordinator.json"] != 1 || count["trust.json"] != 2 || count["chart"] != 2 || !irsa {
		t.Errorf("found %v, a role for the ServiceAccount: %v", count, irsa)
	}
}

// helm is the path of the pinned helm.
func helm(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "-modfile=../hack/tools/helm/go.mod", "helm").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
