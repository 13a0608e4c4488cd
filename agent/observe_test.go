package agent

import (
	"errors"
	"log/slog"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// IMDS hints at the device indexes that others hold. It still lists what was
// detached minutes ago; of that there is no link.
func TestIndexesTaken(t *testing.T) {
	shown := func(id string, index, card int) imds.Interface {
		return imds.Interface{ENIID: id, DeviceIndex: index, Card: card, Settled: true, MAC: net.HardwareAddr(id)}
	}
	unsettled := shown("eni-new", 6, 0)
	unsettled.Settled = false
	got := indexesTaken([]imds.Interface{
		shown("eni-primary", 0, 0), shown("eni-cni", 1, 0), shown("eni-ours", 2, 0), shown("eni-card", 3, 1),
		shown("eni-detached", 4, 0), shown("eni-in-a-pod", 5, 0), unsettled,
	}, map[string]bool{"eni-ours": true}, map[int32]string{4: "eni-formerly", 5: "eni-in-a-pod"}, func(mac net.HardwareAddr) bool {
		return string(mac) != "eni-detached" && string(mac) != "eni-in-a-pod"
	})
	if want := map[int32]string{1: "eni-cni", 5: "eni-in-a-pod"}; !maps.Equal(got, want) {
		t.Errorf("taken are %v, want %v", got, want)
	}
}

// What the host refuses may work a moment later, without anything that tells.
func TestHostErrorsAreTriedAgain(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{})
	a.started, a.nodeSeen, a.nextObserve = true, true, now.Add(time.Hour)
	a.links["eni-x"] = linkState{}
	if in := a.nextPass(now).Sub(now); in < 30*time.Minute {
		t.Errorf("without an error, the next pass is in %v", in)
	}
	a.links["eni-x"] = linkState{err: errors.New("out of memory")}
	if in := a.nextPass(now).Sub(now); in > linkRetry {
		t.Errorf("with an error, the next pass is in %v", in)
	}
}

// The primary ENI is none of ours, whatever a tag editor or an edited report says.
func TestPrimaryIsNeverOurs(t *testing.T) {
	const mac = "02:00:00:00:00:01"
	a := New(Config{
		Identity: imds.Identity{InstanceID: me, MAC: hardwareAddr(mac)}, Log: slog.New(slog.DiscardHandler),
		Source: lastReport{report: v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{
			{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-edited", MAC: mac, Phase: v1alpha1.PhaseReady},
		}}},
	})
	if err := a.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(a.enis) > 0 {
		t.Errorf("taken from the report: %+v", a.enis)
	}
	list := a.withoutPrimary([]eni.ENI{
		{ID: "by-mac", MAC: mac},
		eniFor("by-place", "x", subnetA).at(me, 0, "attached").ENI,
		eniFor("elsewhere", "x", subnetA).at(other, 0, "attached").ENI,
		eniFor("ours", "x", subnetA).at(me, 2, "attached").ENI,
	})
	if len(list) != 2 || list[0].ID != "elsewhere" || list[1].ID != "ours" {
		t.Errorf("ours are %+v", list)
	}
}
