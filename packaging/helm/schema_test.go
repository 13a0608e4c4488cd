package helm

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestLint(t *testing.T) {
	if out, err := helmCommand(t.Context(), t.TempDir(), "lint", "--strict", chart).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPackage: the chart of a release installs the images of that release.
func TestPackage(t *testing.T) {
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "../../hack/release/chart.sh")
	cmd.Env = append(os.Environ(), "VERSION=v9.8.7", "BIN="+bin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := helmCommand(t.Context(), bin, "template", release, bin+"/chart/aws-multi-eni-9.8.7.tgz").Output()
	if err != nil {
		t.Fatal(err)
	}
	packaged := byKey(decode(t, out))
	for name := range byKey(mustRender(t, "--namespace", "default")) {
		if packaged[name] == nil {
			t.Errorf("the packaged chart lacks %s", name)
		}
	}
	agent := packaged["default/eni-agent DaemonSet"]
	if image := part(t, agent, "spec.template.spec.containers.image"); image != "ghcr.io/aws-multi-eni/eni-agent:v9.8.7" {
		t.Errorf("it installs %s", image)
	}
}

// TestMistakes: what cannot be meant is refused, with words that help.
func TestMistakes(t *testing.T) {
	for set, want := range map[string]string{
		"awsregion=us-east-1":                              "at '': additional properties 'awsregion' not allowed",
		"awsRegion=us-east-1a":                             "at '/awsRegion': 'us-east-1a' does not match pattern",
		"controller.maxConcurrentEniCleanup=5":             "at '/controller': additional properties 'maxConcurrentEniCleanup' not allowed",
		"controller.maxConcurrentENICleanup=0":             "at '/controller/maxConcurrentENICleanup': minimum: got 0, want 1",
		"controller.maxConcurrentReconciles=many":          "at '/controller/maxConcurrentReconciles': got string, want integer",
		"controller.updateStrategy.rollingUpdate.maxxed=1": "at '/controller/updateStrategy/rollingUpdate': additional properties 'maxxed' not allowed",
		"controller.extraArgs[0]=sweep-interval=1m":        "at '/controller/extraArgs/0': 'sweep-interval=1m' does not match pattern",
		"eniManager.defaultMTU=70":                         "at '/eniManager/defaultMTU': minimum: got 70, want 576",
		"eniManager.releaseDelay=30s":                      "at '/eniManager/releaseDelay': '30s' does not match pattern",
		"eniManager.checkInterval=30s":                     "at '/eniManager': additional properties 'checkInterval' not allowed",
		"image.pullpolicy=Always":                          "at '/image': additional properties 'pullpolicy' not allowed",
		"image.pullPolicy=always":                          "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'",
		"controller.image.digest=latest":                   "at '/controller/image/digest': 'latest' does not match pattern",
		"imagePullSecrets[0]=secret":                       "at '/imagePullSecrets/0': got string, want object",
		"logLevel=verbose":                                 "at '/logLevel': value must be one of 'debug', 'info', 'warn', 'error'",
		"metrics.port=80800":                               "at '/metrics/port': maximum: got 80,800, want 65,535",
		"nodeSelector=ng":                                  "at '/nodeSelector': got string, want object",
		"nodeSelector.gpu=true":                            "at '/nodeSelector/gpu': got boolean, want string",
		"resources.agent.limits.cpu=1":                     "at '/resources': additional properties 'agent' not allowed",
		"resources.manager.limit.cpu=1":                    "at '/resources/manager': additional properties 'limit' not allowed",
		"serviceAccount.annotation.a=b":                    "at '/serviceAccount': additional properties 'annotation' not allowed",
		"serviceAccount.name=Eni":                          "at '/serviceAccount/name': 'Eni' does not match pattern",
		"tolerations[0].operater=Exists":                   "at '/tolerations/0': additional properties 'operater' not allowed",
		"affinity.nodeAfinity.a=b":                         "at '/affinity': additional properties 'nodeAfinity' not allowed",
		"pods.enabled=yes":                                 "at '/pods/enabled': got string, want boolean",
		"pods.cniBinDir=opt/cni/bin":                       "at '/pods/cniBinDir': 'opt/cni/bin' does not match pattern",
		"onDemand.idleTimeout=long":                        "at '/onDemand/idleTimeout': 'long' does not match pattern",
		"pods.cniBinDir=/opt/cni/bin/":                     "at '/pods/cniBinDir': '/opt/cni/bin/' does not match pattern",
		"uninstall.timeout=5":                              "at '/uninstall/timeout': got number, want string",
		"crds.upgrade=true":                                "at '/crds': additional properties 'upgrade' not allowed",

		"metrics.serviceMonitor.enabled=true":                               "metrics.serviceMonitor.enabled=true requires metrics.enabled=true",
		"controller.serviceAccount.name=a,eniManager.serviceAccount.name=a": `the agent and the coordinator must not share the ServiceAccount "a"`,
		"nodeReadiness.labels=true,admissionPolicy.enabled=false":           "nodeReadiness requires admissionPolicy.enabled=true",
		"onDemand.enabled=true,eniManager.httpPort=9481":                    "onDemand.httpPort and eniManager.httpPort must differ",
		"eniManager.extraArgs[0]=--on-demand":                               `eniManager.extraArgs must not have "--on-demand": set onDemand.enabled`,
		"onDemand.enabled=true,admissionPolicy.enabled=false":               "onDemand.enabled=true requires admissionPolicy.enabled=true",
		"pods.enabled=true,admissionPolicy.enabled=false":                   "pods.enabled=true requires admissionPolicy.enabled=true",
		"crds.keep=false,uninstall.deleteNodeENIs=false":                    "Set crds.keep=true or uninstall.deleteNodeENIs=true",
	} {
		if _, err := render(t, "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v\nwant\n%s", set, err, want)
		}
	}
}

// TestDefaultsAreACopy: templates read the defaults in the copy that make generate makes.
func TestDefaultsAreACopy(t *testing.T) {
	var values, copied any
	read(t, chart+"/values.yaml", &values)
	read(t, chart+"/files/values.yaml", &copied)
	if !reflect.DeepEqual(values, copied) {
		t.Error("files/values.yaml differs from values.yaml: run make generate")
	}
}

// TestEveryValueIsInTheSchema: the schema names exactly what values.yaml does, so
// that each value has its default and its comment there.
func TestEveryValueIsInTheSchema(t *testing.T) {
	var values map[string]any
	read(t, chart+"/values.yaml", &values)
	var schema map[string]any
	read(t, chart+"/values.schema.json", &schema)
	definitions := schema["definitions"].(map[string]any)

	var compare func(path string, values map[string]any, schema map[string]any)
	compare = func(path string, values, schema map[string]any) {
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return // of a map whose keys are the user's
		}
		known := slices.DeleteFunc(slices.Sorted(maps.Keys(properties)), func(name string) bool {
			return path == "" && (name == "global" || name == "enabled") // those of a chart that this one is a part of
		})
		if got := slices.Sorted(maps.Keys(values)); !slices.Equal(got, known) {
			t.Errorf("values.yaml has %s%v, the schema %v", path, got, known)
		}
		if schema["additionalProperties"] != false {
			t.Errorf("the schema lets typos in %q pass", path)
		}
		for name, value := range values {
			inner, _ := properties[name].(map[string]any)
			if reference, ok := inner["$ref"].(string); ok {
				switch reference = strings.TrimPrefix(reference, "#/definitions/"); reference {
				case "resources", "affinity", "updateStrategy", "deploymentStrategy", "labels": // of Kubernetes, where most may be left out
					continue
				default:
					inner = definitions[reference].(map[string]any)
				}
			}
			if object, ok := value.(map[string]any); ok {
				compare(path+name+".", object, inner)
			}
		}
	}
	compare("", values, schema)
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = yaml.YAMLToJSON(data); err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
