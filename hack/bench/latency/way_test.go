package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

var zero = time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC)

// at is so many milliseconds after zero.
func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

func millis(values ...int) []time.Duration {
	var all []time.Duration
	for _, v := range values {
		all = append(all, time.Duration(v)*time.Millisecond)
	}
	return all
}

func TestWithin(t *testing.T) {
	spans := []span{{at(50), at(60)}, {at(10), at(30)}, {at(20), at(40)}, {at(15), at(18)}}
	for _, test := range []struct{ from, to, want int }{
		{0, 100, 40}, {0, 10, 0}, {20, 55, 25}, {16, 17, 1}, {40, 50, 0}, {60, 20, 0},
	} {
		if got := within(spans, at(test.from), at(test.to)); got != millis(test.want)[0] {
			t.Errorf("from %d to %d: %v, want %d ms", test.from, test.to, got, test.want)
		}
	}
}

// sampleLap is a lap in which each own step has another length: 5, 4, 3, 2 and 1 ms.
func sampleLap() *lap {
	e := v1alpha1.ENIState{ENIID: "eni-1", MAC: "02:00:00:00:00:01", DeviceIndex: 1, Addresses: []string{"10.0.1.10"}}
	call := func(action string, from, to int) cloud.Call {
		return cloud.Call{Action: action, Time: at(from), Latency: at(to).Sub(at(from))}
	}
	attach := call("AttachNetworkInterface", 94, 154)
	attach.Params = map[string]string{"NetworkInterfaceId": e.ENIID}
	return &lap{
		node: "node-1", spec: noneSpec, labelled: at(0), ready: at(253), enis: []v1alpha1.ENIState{e},
		calls: []cloud.Call{
			call("DescribeSubnets", 5, 25), call("DescribeSecurityGroups", 6, 27), // and from 27 on: recorded
			call("CreateNetworkInterface", 31, 91),
			attach, call("ModifyNetworkInterfaceAttribute", 156, 252), // the link comes meanwhile
		},
		events: []event{
			{at: at(200), message: unix.RTM_NEWLINK, index: 7, mac: e.MAC, name: "eth1", mtu: 9001},
			{at: at(202), message: unix.RTM_NEWLINK, index: 7, mac: e.MAC, name: "eth1", mtu: 1500, up: true},
		},
	}
}

func TestWay(t *testing.T) {
	w, err := wayOf(sampleLap())
	if err != nil {
		t.Fatal(err)
	}
	if want := millis(5, 22, 4, 60, 3, 108, 0, 50, 1); !slices.Equal(w, want) {
		t.Errorf("%v, want %v: while Modify is under way, EC2 is at work", w, want)
	}
	quickly := sampleLap()
	quickly.calls[4].Latency = 10 * time.Millisecond
	if w, err = wayOf(quickly); err != nil || w[6] != 2*time.Millisecond || w[8] != 51*time.Millisecond {
		t.Errorf("%v, %v; want 2 ms to configure, 51 ms to report", w, err)
	}
}

func TestWayErrors(t *testing.T) {
	for want, spoil := range map[string]func(*lap){
		"has 2 ENIs":             func(l *lap) { l.enis = append(l.enis, l.enis[0]) },
		"without an attach":      func(l *lap) { l.calls = l.calls[:3] },
		"without a create":       func(l *lap) { l.calls = slices.Delete(l.calls, 2, 3) },
		"link":                   func(l *lap) { l.events = l.events[:1] },
		"DescribeSubnets failed": func(l *lap) { l.calls[0].Code = "RequestLimitExceeded" },
	} {
		l := sampleLap()
		spoil(l)
		if _, err := wayOf(l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
