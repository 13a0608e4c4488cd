package helm

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// valueSets are files in testdata.
var valueSets = []string{"field.yaml", "own.yaml", "least.yaml", "readiness.yaml", "pods.yaml"}

// besideNoAgent is the default of the coordinators' affinity, which Helm merges with
// what a user sets.
const besideNoAgent = `podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
  - podAffinityTerm:
      labelSelector:
        matchLabels:
          app.kubernetes.io/component: agent
          app.kubernetes.io/name: aws-multi-eni
      topologyKey: kubernetes.io/hostname
    weight: 100`

// TestValues: what values change, in parts of the objects. A part is named by the
// object and the way to it.
func TestValues(t *testing.T) {
	const (
		agent       = "eni-system/eni-agent DaemonSet: "
		coordinator = "eni-system/eni-coordinator Deployment: "
		job         = "eni-system/eni-uninstall Job: "
		pod         = "spec.template.spec."
	)
	for file, parts := range map[string]map[string]string{
		"field.yaml": {
			agent + pod + "containers.args":                                                        "- --http-address=$(HOST_IP):9480\n- --log-level=debug\n- --default-mtu=9001\n- --release-delay=10s",
			agent + pod + "containers.image":                                                       "ghcr.io/aws-multi-eni/eni-agent:v0.1.0",
			agent + pod + "containers.env":                                                         "- name: NODE_NAME\n  valueFrom:\n    fieldRef:\n      fieldPath: spec.nodeName\n- name: HOST_IP\n  valueFrom:\n    fieldRef:\n      fieldPath: status.hostIP\n- name: AWS_REGION\n  value: us-west-2",
			agent + pod + "containers.resources":                                                   "limits:\n  cpu: 500m\n  memory: 512Mi\nrequests:\n  cpu: 100m\n  memory: 128Mi",
			agent + pod + "nodeSelector":                                                           "kubernetes.io/os: linux\nng: multi-eni\nrole: worker",
			agent + pod + "tolerations":                                                            "- effect: NoSchedule\n  key: dedicated\n  operator: Equal\n  value: network",
			agent + pod + "serviceAccountName":                                                     "eni-controller-agent",
			agent + "spec.template.metadata":                                                       "annotations:\n  team: network\nlabels:\n  app.kubernetes.io/component: agent\n  app.kubernetes.io/name: aws-multi-eni\n  cost-center: \"42\"",
			coordinator + pod + "containers.args":                                                  "- --http-address=:8081\n- --namespace=$(POD_NAMESPACE)\n- --log-level=debug\n- --max-concurrent-eni-cleanup=5",
			coordinator + pod + "containers.ports":                                                 "- containerPort: 8081\n  name: http\n  protocol: TCP",
			coordinator + pod + "serviceAccountName":                                               "eni-controller-coordinator",
			coordinator + pod + "affinity":                                                         "nodeAffinity:\n  requiredDuringSchedulingIgnoredDuringExecution:\n    nodeSelectorTerms:\n    - matchExpressions:\n      - key: node-role.kubernetes.io/control-plane\n        operator: DoesNotExist\n" + besideNoAgent,
			coordinator + pod + "tolerations":                                                      "- key: CriticalAddonsOnly\n  operator: Exists",
			coordinator + "spec.template.metadata":                                                 "annotations:\n  team: network\nlabels:\n  app.kubernetes.io/component: coordinator\n  app.kubernetes.io/name: aws-multi-eni\n  cost-center: \"42\"",
			job + pod + "containers.imagePullPolicy":                                               "Always",
			job + "spec.template.metadata.labels":                                                  "app.kubernetes.io/component: uninstall\napp.kubernetes.io/name: aws-multi-eni",
			"eni-agent ClusterRoleBinding: subjects":                                               "- kind: ServiceAccount\n  name: eni-controller-agent\n  namespace: eni-system",
			"eni-uninstall ClusterRoleBinding: roleRef":                                            "apiGroup: rbac.authorization.k8s.io\nkind: ClusterRole\nname: eni-uninstall",
			"eni-system/eni-controller-coordinator ServiceAccount: metadata.annotations":           "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/eni",
			"eni-agent-own-node ValidatingAdmissionPolicy: spec.matchConditions":                   "- expression: request.userInfo.username == 'system:serviceaccount:eni-system:eni-controller-agent'\n  name: request-of-an-agent",
			"eni-events ValidatingAdmissionPolicy: spec.matchConditions":                           "- expression: request.userInfo.username in ['system:serviceaccount:eni-system:eni-controller-agent',\n    'system:serviceaccount:eni-system:eni-controller-coordinator']\n  name: request-of-agent-or-coordinator",
			"eni-coordinator-finalizer-and-status ValidatingAdmissionPolicy: spec.matchConditions": "- expression: request.userInfo.username == 'system:serviceaccount:eni-system:eni-controller-coordinator'\n  name: request-of-a-coordinator",
			"eni-system/eni-coordinator-metrics Service: spec":                                     "ports:\n- name: metrics\n  port: 9090\n  protocol: TCP\n  targetPort: http\nselector:\n  app.kubernetes.io/component: coordinator\n  app.kubernetes.io/name: aws-multi-eni\ntype: ClusterIP",
			"eni-system/eni-agent-metrics Service: spec":                                           "clusterIP: None\nports:\n- name: metrics\n  port: 9480\n  protocol: TCP\n  targetPort: http\nselector:\n  app.kubernetes.io/component: agent\n  app.kubernetes.io/name: aws-multi-eni\ntype: ClusterIP",
		},
		"own.yaml": {
			agent + pod + "containers.image":                                      "registry.example.com/agent:v9",
			agent + pod + "containers.args":                                       "- --http-address=$(HOST_IP):9999\n- --cluster-name=prod-1\n- --log-format=json\n- --eni-counters=false\n- --log-level=warn",
			agent + pod + "containers.env":                                        "- name: NODE_NAME\n  valueFrom:\n    fieldRef:\n      fieldPath: spec.nodeName\n- name: HOST_IP\n  valueFrom:\n    fieldRef:\n      fieldPath: status.hostIP\n- name: HTTPS_PROXY\n  value: http://proxy.example.com:3128\n- name: AWS_CA_BUNDLE\n  value: /etc/proxy-ca/ca.crt",
			agent + pod + "volumes":                                               "- name: ca\n  secret:\n    secretName: proxy-ca",
			agent + pod + "containers.volumeMounts":                               "- mountPath: /etc/proxy-ca\n  name: ca\n  readOnly: true",
			coordinator + pod + "volumes":                                         "- configMap:\n    name: proxy-ca\n  name: ca",
			coordinator + pod + "containers.volumeMounts":                         "- mountPath: /etc/proxy-ca\n  name: ca\n  readOnly: true",
			"eni-system/aws-multi-eni PrometheusRule: metadata.labels.release":    "prometheus",
			"eni-system/eni-dashboard ConfigMap: metadata.annotations":            "grafana_folder: Network",
			agent + pod + "imagePullSecrets":                                      "- name: registry",
			agent + pod + "nodeSelector":                                          "kubernetes.io/os: linux",
			agent + pod + "tolerations":                                           "",
			agent + pod + "affinity":                                              "",
			agent + pod + "priorityClassName":                                     "system-cluster-critical",
			agent + "spec.updateStrategy":                                         "rollingUpdate:\n  maxUnavailable: 1\ntype: RollingUpdate",
			coordinator + pod + "containers.image":                                "registry.example.com/mirror/eni-coordinator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			coordinator + pod + "containers.args":                                 "- --http-address=:8080\n- --namespace=$(POD_NAMESPACE)\n- --cluster-name=prod-1\n- --log-format=json\n- --sweep-interval=1m",
			coordinator + pod + "containers.env":                                  "- name: POD_NAMESPACE\n  valueFrom:\n    fieldRef:\n      fieldPath: metadata.namespace\n- name: AWS_USE_DUALSTACK_ENDPOINT\n  value: \"true\"",
			coordinator + pod + "nodeSelector":                                    "kubernetes.io/os: linux\npool: system",
			coordinator + pod + "tolerations":                                     "",
			coordinator + pod + "priorityClassName":                               "",
			coordinator + pod + "terminationGracePeriodSeconds":                   "60",
			coordinator + pod + "topologySpreadConstraints":                       "- labelSelector:\n    matchLabels:\n      app.kubernetes.io/component: coordinator\n  maxSkew: 1\n  topologyKey: topology.kubernetes.io/zone\n  whenUnsatisfiable: DoNotSchedule",
			coordinator + "spec.replicas":                                         "3",
			coordinator + "spec.strategy":                                         "type: Recreate",
			"eni-system/eni-coordinator PodDisruptionBudget: spec.maxUnavailable": "50%",
			"eni-system/eni-agent ServiceAccount: metadata.annotations":           "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/agent\nteam: network",
			"eni-system/coordinator ServiceAccount: metadata.annotations":         "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/coordinator\nteam: network",
			"eni-system/eni-coordinator RoleBinding: subjects":                    "- kind: ServiceAccount\n  name: coordinator\n  namespace: eni-system",
			"eni-system/aws-multi-eni ServiceMonitor: spec":                       "endpoints:\n- interval: 30s\n  port: metrics\nselector:\n  matchLabels:\n    app.kubernetes.io/instance: eni\n    app.kubernetes.io/name: aws-multi-eni",
			"eni-system/aws-multi-eni ServiceMonitor: metadata.labels.release":    "prometheus",
			job + pod + "containers.args":                                         "- uninstall\n- --namespace=eni-system\n- --timeout=10m\n- --helm-release=eni-system/eni.v1\n- --delete-crds",
			job + pod + "containers.image":                                        "registry.example.com/mirror/eni-coordinator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			job + pod + "nodeSelector":                                            "kubernetes.io/os: linux\npool: system",
		},
		"readiness.yaml": {
			agent + pod + "containers.args":                                                     "- --http-address=$(HOST_IP):9480\n- --startup-taint\n- --node-ready-labels",
			"eni-agent-node-readiness ClusterRole: rules":                                       "- apiGroups:\n  - \"\"\n  resources:\n  - nodes\n  verbs:\n  - patch",
			"eni-agent-node-readiness ClusterRoleBinding: subjects":                             "- kind: ServiceAccount\n  name: eni-agent\n  namespace: eni-system",
			"eni-agent-node-readiness ValidatingAdmissionPolicyBinding: spec.validationActions": "- Deny",
			"eni-agent-node-readiness ValidatingAdmissionPolicy: spec.failurePolicy":            "Fail",
		},
		"pods.yaml": {
			agent + pod + "initContainers.image":           "registry.example.com/agent:v9",
			agent + pod + "initContainers.imagePullPolicy": "Always",
			agent + pod + "initContainers.args":            "- install-cni\n- --to=/var/lib/rancher/k3s/data/cni",
			agent + pod + "initContainers.volumeMounts":    "- mountPath: /var/lib/rancher/k3s/data/cni\n  name: cni-bin",
			agent + pod + "initContainers.resources":       "",
			agent + pod + "containers.args":                "- --http-address=$(HOST_IP):9480\n- --pods\n- --cni-bin-dir=/var/lib/rancher/k3s/data/cni",
			agent + pod + "containers.volumeMounts": "- mountPath: /var/lib/rancher/k3s/data/cni\n  name: cni-bin\n  readOnly: true\n" +
				"- mountPath: /run/eni-agent/pods\n  name: pod-networks\n- mountPath: /var/lib/eni-agent/pods\n  name: pod-attachments\n" +
				"- mountPath: /run/netns\n  name: netns\n  readOnly: true\n- mountPath: /var/run/netns\n  name: netns\n  readOnly: true\n" +
				"- mountPath: /etc/proxy-ca\n  name: ca\n  readOnly: true",
			"eni-agent-pods ClusterRole: rules":                                       "- apiGroups:\n  - \"\"\n  resources:\n  - nodes/status\n  verbs:\n  - patch",
			"eni-agent-pods ClusterRoleBinding: subjects":                             "- kind: ServiceAccount\n  name: eni-agent\n  namespace: eni-system",
			"eni-agent-pods ValidatingAdmissionPolicyBinding: spec.validationActions": "- Deny",
			agent + pod + "volumes": "- hostPath:\n    path: /var/lib/rancher/k3s/data/cni\n    type: Directory\n  name: cni-bin\n" +
				"- hostPath:\n    path: /run/eni-agent/pods\n    type: DirectoryOrCreate\n  name: pod-networks\n" +
				"- hostPath:\n    path: /var/lib/eni-agent/pods\n    type: DirectoryOrCreate\n  name: pod-attachments\n" +
				"- hostPath:\n    path: /var/run/netns\n    type: DirectoryOrCreate\n  name: netns\n" +
				"- name: ca\n  secret:\n    secretName: proxy-ca",
		},
		"least.yaml": {
			agent + pod + "containers.resources":            "",
			agent + pod + "serviceAccountName":              "eni-agent",
			coordinator + pod + "containers.resources":      "",
			coordinator + pod + "topologySpreadConstraints": "",
			coordinator + "spec.replicas":                   "1",
		},
	} {
		t.Run(file, func(t *testing.T) {
			objects := byKey(mustRender(t, "--values", "testdata/"+file))
			for name, want := range parts {
				object, path, _ := strings.Cut(name, ": ")
				if objects[object] == nil {
					t.Errorf("there is no %s, only %v", object, slices.Sorted(maps.Keys(objects)))
				} else if got := part(t, objects[object], path); got != want {
					t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
				}
			}
			maps.DeleteFunc(objects, func(_ string, obj *unstructured.Unstructured) bool { return isHook(obj) })
			if file == "least.yaml" && len(objects) != 2 {
				t.Errorf("there are %v, want the two programs only", slices.Sorted(maps.Keys(objects)))
			}
		})
	}
}

// TestWithoutRBAC: without rbac.create nothing of RBAC is made, for the uninstall's
// Job neither.
func TestWithoutRBAC(t *testing.T) {
	objects := byKey(mustRender(t, "--values", "testdata/readiness.yaml", "--set", "rbac.create=false"))
	for name, obj := range objects {
		if obj.GroupVersionKind().Group == "rbac.authorization.k8s.io" {
			t.Errorf("there is %s", name)
		}
	}
	for _, name := range []string{"eni-system/eni-uninstall Job", "eni-system/eni-uninstall ServiceAccount"} {
		if objects[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// part is a part of an object as YAML; a list on the way to it has one item. What
// is not there is empty.
func part(t *testing.T, obj *unstructured.Unstructured, path string) string {
	t.Helper()
	var at any = obj.Object
	for field := range strings.SplitSeq(path, ".") {
		if list, ok := at.([]any); ok && len(list) == 1 {
			at = list[0]
		}
		at = at.(map[string]any)[field]
	}
	if at == nil {
		return ""
	}
	text, err := yaml.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestNamespace: whatever names a namespace or an account names that of the
// release, also in the middle of the policy's messages.
func TestNamespace(t *testing.T) {
	for _, obj := range mustRender(t, "--namespace", "network", "--set", "serviceAccount.name=x", "--values", "testdata/readiness.yaml", "--values", "testdata/pods.yaml") {
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, foreign := range []string{namespace, "token eni-agent", ":eni-agent"} {
			if strings.Contains(string(text), foreign) {
				t.Errorf("%s speaks of %q:\n%s", key(obj), foreign, text)
			}
		}
	}
}

// TestArguments: the programs know the flags that they are given.
func TestArguments(t *testing.T) {
	for _, file := range valueSets {
		for _, obj := range mustRender(t, "--values", "testdata/"+file) {
			if kind := obj.GetKind(); kind != "DaemonSet" && kind != "Deployment" && kind != "Job" {
				continue
			}
			container := containerOf(t, obj)
			program := filepath.Join(programs, map[bool]string{true: "eni-agent", false: "eni-coordinator"}[obj.GetKind() == "DaemonSet"])
			for _, given := range append(initArguments(t, obj), container.args) {
				args := slices.Concat(given, []string{"--help"})
				if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
					t.Errorf("%s: %s %s: %v\n%s", file, program, strings.Join(args, " "), err, out)
				}
				args[len(args)-1] = "--nonsense"
				if exec.CommandContext(t.Context(), program, args...).Run() == nil {
					t.Errorf("%s %s takes the flag --nonsense", program, strings.Join(given, " "))
				}
			}
		}
	}
}

// initArguments are those of a workload's init containers.
func initArguments(t *testing.T, workload *unstructured.Unstructured) [][]string {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", "initContainers")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, c := range containers {
		args, _, err := unstructured.NestedStringSlice(c.(map[string]any), "args")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, args)
	}
	return all
}

// container is what a workload runs.
type container struct {
	name, account string
	args          []string
}

func containerOf(t *testing.T, workload *unstructured.Unstructured) container {
	t.Helper()
	account, _, err := unstructured.NestedString(workload.Object, "spec", "template", "spec", "serviceAccountName")
	if err != nil {
		t.Fatal(err)
	}
	containers, _, err := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%s has %d containers (%v), want 1", key(workload), len(containers), err)
	}
	c := containers[0].(map[string]any)
	args, _, err := unstructured.NestedStringSlice(c, "args")
	if err != nil {
		t.Fatal(err)
	}
	return container{name: c["name"].(string), account: account, args: args}
}
