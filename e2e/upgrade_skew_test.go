package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// Agents and coordinator are newer than the CRDs, against the order of an upgrade. They
// work, and write no more than with their own CRDs; once these are there, the reports have
// all fields.
func TestUpgradeOfProgramsBeforeCRDs(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t, 1, dualStackZones)
	u.UsePrograms(programs)
	u.had = u.oneENIEach(nodesOf(1), u.hostSpec())
	u.coordinator("coordinator-1", eager...)
	u.works()
	if entry := u.entries("node-1", "node-1")[0]; len(entry.SubnetIPv6CIDRs) > 0 {
		t.Fatalf("the CRD of the previous version has the field subnetIPv6CIDRs: choose a newer one (%+v)", entry)
	}
	u.await("the report has come to rest", func() string {
		if entries := u.entries("node-1", ""); len(entries) != 1 {
			return fmt.Sprintf("%+v", entries)
		}
		return ""
	})
	u.awaitLogged("node-1", "the API server has dropped fields of this node's report", 1)
	version := u.versionOfReport()
	u.stays("the report is not written again", 12*time.Second, func() string { // the agent looks at it after 10 s
		if now := u.versionOfReport(); now != version {
			return version + " is now " + now
		}
		return ""
	})
	u.upgradeCRDs()
	u.replace(programs, "node-1")
	u.awaitEntry("node-1", "node-1", func(entry v1alpha1.ENIState) string {
		if len(entry.SubnetIPv6CIDRs) != 1 {
			return "the new field is not reported"
		}
		return ""
	})
}

func (u *upgrade) versionOfReport() string {
	u.t.Helper()
	states, err := u.States(u.t.Context())
	u.must(err)
	return states[0].ResourceVersion
}

// Agents are replaced by those of the other version between Create and its answer, while
// describes lag: the next one goes on with the ENI and makes no second one.
func TestUpgradeAmidCreate(t *testing.T) {
	t.Parallel()
	u := newUpgrade(t, 2, nil)
	u.upgradeCRDs()
	for node, versions := range map[string][2]string{"node-1": {u.previous, programs}, "node-2": {programs, u.previous}} {
		u.lag(0)
		u.UsePrograms(versions[0])
		before := u.answerWithheld(node, createCall, true)
		u.lag(lagging)
		u.UsePrograms(versions[1])
		u.agent(node)
		after := u.awaitOnly(node, node)
		same(t, after.ID, before.ID)
		u.staysOnly(node, lagging, before.ID)
	}
}

// The agent without Kubernetes: its state file is read by the other version, and an
// earlier one refuses a file with a field that it does not know, and keeps the ENI.
func TestUpgradeStandAlone(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	u := &upgrade{previous: previousVersion(t), cluster: newStandAlone(t, 1, nil)}
	u.UsePrograms(u.previous)
	u.agent(node)
	u.want(node, node, u.hostENI("data", ""))
	u.want(node, "passing", u.hostENI("storage", ""))
	u.awaitReady(node, "passing", 1)
	one := u.eni(u.awaitReady(node, node, 1)[0].ENIID)
	u.had = map[string]cloud.Interface{node: one}

	u.run("a file is removed while the next version starts", func(*testing.T) {
		u.must(u.agents[node].Stop())
		u.unwrite(node, "passing")
		u.UsePrograms(programs)
		u.agent(node)
		u.awaitMade(node, 1)
		u.unchanged()
	})
	u.run("a new field", func(*testing.T) {
		u.write(node, node, nodeENI(node, u.hostENI("data", newField+": "+newValue)))
		u.awaitCall(node, modifyCall, 1)
		u.await("the field", func() string {
			if e := u.eni(one.ID); e.ConnectionTracking.UDP != 45 {
				return fmt.Sprint(e)
			}
			return ""
		})
	})
	u.run("rolled back", func(*testing.T) {
		u.replace(u.previous, node)
		u.awaitWrong(node, node, newField)
		u.stays("the ENI of a file that is not understood", 3*time.Second, func() string { return u.configured(node, one, true, 9001) })
	})
	u.run("upgraded again", func(*testing.T) {
		u.replace(programs, node)
		u.awaitWrong(node, node, "")
		u.unwrite(node, node)
		u.awaitMade(node, 0)
	})
}

// Pods and their files, while the agent is rolled back and upgraded again. Where the
// previous version has a CNI plugin, no packet of pods is lost, and each plugin serves pods
// that the other one has attached. Otherwise pods can be detached meanwhile, and have their
// network again after the upgrade.
func TestUpgradePods(t *testing.T) {
	t.Parallel()
	u := &upgrade{previous: previousVersion(t), cluster: forPods(t, 2, nil)}
	u.coordinator("coordinator-1", eager...)
	u.agent("node-1", "node-2")
	u.must(u.Apply(t.Context(), documented(t, "NodeENI", "storage")))
	for _, node := range nodesOf(2) {
		u.must(u.Label(t.Context(), node, "ng", "multi-eni"))
		u.awaitReady(node, "storage", 1)
	}
	network := network(t, "storage", "mode", "ptp")
	a, b := u.attach("node-1", "a", network), u.attach("node-2", "b", network)
	leaving := u.attach("node-1", "leaving", network)
	pings := u.startPings(a.place(), a.addresses[0], b.place(), b.addresses[0])
	pings.await(t, 5)
	made := u.ids()

	previous, served := u.previousOfPods()
	change := func(programs string, pods bool) {
		u.UsePrograms(programs)
		u.pods = pods
		u.Sim.Cloud().ResetCalls()
		for _, node := range nodesOf(2) {
			u.must(u.agents[node].Stop())
			u.agent(node)
			u.awaitCall(node, describeCall, 1)
			u.awaitReady(node, "storage", 1)
			u.expectCalls(u.source(node), nil)
		}
	}
	if !served { // then the rules of pods' addresses are nothing to that version
		pings.stop()
	}
	change(previous, served)
	leaving.detach()
	if served {
		pings.await(t, 20)
		leaving = u.attach("node-1", "again", network)
	}
	change(programs, true)
	if served {
		leaving.detach()
	}
	late := u.attach("node-1", "late", network)
	u.reachEachOther(late, a, b)
	if served {
		pings.await(t, 20)
		if sent, lost := pings.stop(); lost > 0 {
			t.Errorf("%d of %d packets were lost", lost, sent)
		}
	}
	if now := u.ids(); !slices.Equal(made, now) {
		t.Errorf("there are the ENIs %v, and were %v", now, made)
	}
	for _, p := range []*pod{a, b, late} {
		p.detach()
	}
	if left := u.hostFiles("node-1"); slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(l, "file") || strings.HasPrefix(l, "link veth") }) {
		t.Errorf("the host has\n%s", strings.Join(left, "\n"))
	}
}

// previousOfPods is a directory with the agent and the CNI plugin of the previous version,
// and says whether that has one; a plugin that is on a node stays there otherwise.
func (u *upgrade) previousOfPods() (dir string, served bool) {
	u.t.Helper()
	dir = u.t.TempDir()
	u.must(os.CopyFS(filepath.Join(dir, "cni"), os.DirFS(filepath.Join(programs, "cni"))))
	u.must(os.Symlink(filepath.Join(u.previous, "eni-agent"), filepath.Join(dir, "eni-agent")))
	plugin := filepath.Join(u.previous, "eni-cni")
	if _, err := os.Stat(plugin); err != nil {
		return dir, false
	}
	u.must(os.Remove(filepath.Join(dir, "cni", "eni")))
	u.must(os.Symlink(plugin, filepath.Join(dir, "cni", "eni")))
	return dir, true
}
