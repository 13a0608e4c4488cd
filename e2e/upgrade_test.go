package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// previousVersion is the directory that hack/release/previous.sh has made: the programs
// and the manifests that one upgrades from and rolls back to.
func previousVersion(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ENI_PREVIOUS")
	if dir == "" {
		t.Skip("SKIPPED: the programs of the previous version are not here; 'make test-upgrade' builds them and runs this test")
	}
	return dir
}

// newField is a field of NodeENIs that the previous version does not have. When
// hack/release/previous moves on to a version that has it, choose a newer one.
const newField, newValue = "connectionTracking", `{"udpTimeout":45}`

// upgrade is a cluster whose programs and CRDs are replaced one by one.
type upgrade struct {
	*cluster
	previous string                     // directory of the previous version
	had      map[string]cloud.Interface // by node, at first
	passed   int
}

// newUpgrade starts a cluster with the CRDs, roles and policies of the previous version.
func newUpgrade(t *testing.T, n int, change func(*sim.Topology)) *upgrade {
	t.Helper()
	u := &upgrade{previous: previousVersion(t)}
	u.cluster = start(t, testbed.Config{Topology: quickNodes(n, change), Bare: true})
	u.install(u.manifests())
	for _, node := range nodesOf(n) {
		u.must(u.CreateNode(t.Context(), node, nil))
	}
	return u
}

// manifests are those of the previous version.
func (u *upgrade) manifests() string { return filepath.Join(u.previous, "manifests") }

// install applies CRDs, roles and policies.
func (u *upgrade) install(manifests string) {
	u.t.Helper()
	u.must(testbed.InstallFrom(u.t.Context(), u.ControlPlane, manifests))
}

// upgradeCRDs installs what this version has, and waits until the API server has it, too.
func (u *upgrade) upgradeCRDs() {
	u.t.Helper()
	u.install("../manifests")
	body, err := yaml.YAMLToJSON([]byte(nodeENI("dry", u.withNewField())))
	u.must(err)
	u.await("the API server knows the new field", func() string {
		data, err := u.Client.API.Post().Resource(kube.NodeENIs).Param("dryRun", "All").Body(body).Do(u.t.Context()).Raw()
		if err != nil || !strings.Contains(string(data), newValue) {
			return fmt.Sprintf("%v: %s", err, data)
		}
		return ""
	})
}

func (u *upgrade) withNewField() string {
	return u.plain("storage") + "\n" + newField + ": " + newValue
}

// replace ends the agents of nodes as Kubernetes does, and starts those of the directory.
func (u *upgrade) replace(programs string, nodes ...string) {
	u.t.Helper()
	for _, node := range nodes {
		u.must(u.agents[node].Stop())
		u.UsePrograms(programs)
		u.Sim.Cloud().ResetCalls()
		u.agent(node)
		u.awaitCall(node, describeCall, 1)
		u.awaitReady(node, node, 1)
		u.expectCalls(u.source(node), nil)
		u.unchanged()
	}
}

// replaceCoordinator starts a coordinator of the directory, and ends the one that leads.
func (u *upgrade) replaceCoordinator(programs, before, name string) {
	u.t.Helper()
	u.Sim.Cloud().ResetCalls()
	u.UsePrograms(programs)
	u.coordinator(name, eager...)
	u.must(u.coordinators[before].Stop())
	delete(u.coordinators, before)
	u.leader(before)
	u.await("the coordinator has swept a few times", func() string {
		if n := len(u.calls(name, describeCall)); n < 3 {
			return fmt.Sprintf("%d describes", n)
		}
		return ""
	})
	u.expectCalls(name, nil)
	u.unchanged()
}

// unchanged checks that each node has the ENI and the attachment that it had at first, and
// its configuration.
func (u *upgrade) unchanged() {
	u.t.Helper()
	for node, before := range u.had {
		now := u.eni(before.ID)
		if now.Attachment == nil || now.Attachment.ID != before.Attachment.ID {
			u.t.Errorf("%s had %+v, and has %+v now", node, before.Attachment, now.Attachment)
			continue
		}
		u.awaitConfigured(node, now)
	}
}

// works checks that these versions work together: an ENI is created on each node, and
// collected when its NodeENI is deleted.
func (u *upgrade) works() {
	u.t.Helper()
	for node := range u.had {
		u.passed++
		name := fmt.Sprintf("passing-%d", u.passed)
		u.want(node, name, u.plain("storage"))
		e := u.eni(u.awaitReady(node, name, 1)[0].ENIID)
		u.must(u.DeleteNodeENI(u.t.Context(), name))
		u.awaitNodeENIGone(name)
		u.await(e.ID+" is deleted", func() string {
			for _, other := range u.made(node) {
				if other.ID == e.ID {
					return u.enis()
				}
			}
			return ""
		})
	}
	u.unchanged()
}

// storedField is the new field of the NodeENI more as the API server has it.
func (u *upgrade) storedField() string {
	u.t.Helper()
	data, err := u.Client.API.Get().Resource(kube.NodeENIs).Name("more").Do(u.t.Context()).Raw()
	u.must(err)
	var object struct{ Spec map[string]json.RawMessage }
	u.must(json.Unmarshal(data, &object))
	return string(object.Spec[newField])
}

func (u *upgrade) keepsNewField() {
	u.t.Helper()
	if got := u.storedField(); got != newValue {
		u.t.Errorf("the NodeENI has lost its new field: %q", got)
	}
}

// Every mixture of versions while packets flow through ENIs: CRDs, agents one by one and
// coordinators are upgraded, rolled back and upgraded again.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t, 3, nil)
	nodes := nodesOf(3)
	u.UsePrograms(u.previous)
	u.had = u.oneENIEach(nodes, u.hostSpec())
	u.coordinator("before", eager...)
	p := u.startPings(u.instance("node-1"), u.had["node-1"].PrivateIPs[0], u.instance("node-2"), u.had["node-2"].PrivateIPs[0])
	p.await(t, 10)
	primary := u.watchPrimary("node-1")
	u.works()

	u.run("CRDs", func(t *testing.T) {
		u.upgradeCRDs()
		u.works()
		u.want("node-3", "more", u.withNewField())
		u.awaitReady("node-3", "more", 1)
		u.await("the coordinator has written to it", func() string {
			all, err := u.NodeENIs(t.Context())
			i := slices.IndexFunc(all, func(n v1alpha1.NodeENI) bool { return n.Name == "more" })
			if err != nil || i < 0 || len(all[i].Finalizers) != 1 || all[i].Status.Nodes.Ready != 1 {
				return fmt.Sprintf("%v: %+v", err, all)
			}
			return ""
		})
		u.keepsNewField()
	})
	u.run("some agents", func(*testing.T) {
		u.replace(programs, "node-1")
		u.works()
	})
	u.run("coordinator, before all agents", func(*testing.T) {
		u.replaceCoordinator(programs, "before", "after")
		u.works()
	})
	u.run("the other agents", func(t *testing.T) {
		u.replace(programs, "node-2")
		before := u.eni(u.entries("node-3", "more")[0].ENIID)
		u.must(u.agents["node-3"].Stop())
		u.UsePrograms(programs)
		u.Sim.Cloud().ResetCalls()
		u.agent("node-3")
		u.await("the new field is carried out", func() string {
			if e := u.eni(before.ID); e.ConnectionTracking.UDP != 45 {
				return fmt.Sprintf("%+v", e.ConnectionTracking)
			}
			return ""
		})
		u.expectCalls(u.source("node-3"), map[string]int{modifyCall: 1})
		u.works()
	})
	u.run("programs are rolled back", func(t *testing.T) {
		u.replaceCoordinator(u.previous, "after", "back")
		u.replace(u.previous, nodes...)
		u.works()
		u.keepsNewField()
	})
	u.run("CRDs are rolled back", func(t *testing.T) {
		u.install(u.manifests())
		u.await("the field is gone", func() string { return u.storedField() })
		u.works()
	})
	u.run("everything is upgraded again", func(t *testing.T) {
		u.upgradeCRDs()
		u.replaceCoordinator(programs, "back", "again")
		u.replace(programs, nodes...)
		u.must(u.PatchNodeENI(t.Context(), "more", fmt.Sprintf(`{"spec":{%q:%s}}`, newField, newValue)))
		u.awaitReady("node-3", "more", 1)
		u.expectCalls(u.source("node-3"), nil) // the ENI still has what the field asks for
		u.works()
	})
	for _, problem := range primary() {
		t.Error(problem)
	}
	if sent, lost := p.stop(); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
}
