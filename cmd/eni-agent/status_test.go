package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func sampleState() files.State {
	since := metav1.NewTime(time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC))
	return files.State{
		Metadata: files.Metadata{Name: "node-1"}, Cluster: "standalone", Directory: "/etc/eni-agent/nodeeni.d",
		Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1", Zone: "us-east-1a", ENIs: []v1alpha1.ENIState{
			{NodeENI: "data", ENIID: "eni-1", DeviceIndex: 2, InterfaceName: "eth2", MTU: 9001, Addresses: []string{"10.0.16.4", "10.0.16.5"}, Phase: v1alpha1.PhaseReady, LastTransitionTime: since},
			{NodeENI: "storage", Phase: v1alpha1.PhasePending, Message: "waiting for EC2 to create the ENI", LastTransitionTime: since},
		}},
	}
}

// everything gives the first ENI all that EC2 can do.
func everything(s *files.State) {
	e := &s.Status.ENIs[0]
	e.NetworkCard, e.PrimaryIPv6, e.ENAQueues = 1, true, 8
	e.Addresses, e.Prefixes = []string{"10.0.16.4", "2001:db8::4"}, []string{"10.0.16.16/28", "2001:db8:0:1::/80"}
	e.ConnectionTracking = &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 30, UDPStreamTimeout: 60}
	e.ENAExpress = &v1alpha1.ENAExpress{Enabled: true, UDP: true}
}

const sampleTable = `Node node-1, cluster standalone, instance i-1 in us-east-1a
The agent is ready. Its report last changed 35m ago.

NODEENI  ENI    DEVICE  LINK  MTU   ADDRESSES            PHASE    SINCE                 MESSAGE
data     eni-1  2       eth2  9001  10.0.16.4,10.0.16.5  Ready    2026-11-24T15:00:00Z  -
storage  -      -       -     -     -                    Pending  2026-11-24T15:00:00Z  waiting for EC2 to create the ENI
`

func TestPrintTable(t *testing.T) {
	nodeENI := []files.NodeENI{{Name: "data"}, {Name: "more"}}
	for _, test := range []struct {
		name    string
		change  func(*files.State)
		running bool
		want    string
	}{
		{"two ENIs", func(*files.State) {}, true, sampleTable},
		{"all that EC2 can do", everything, true, `Node node-1, cluster standalone, instance i-1 in us-east-1a
The agent is ready. Its report last changed 35m ago.

NODEENI  ENI    CARD  DEVICE  LINK  MTU   ADDRESSES              PREFIXES                         ATTRIBUTES                                                                                                     PHASE    SINCE                 MESSAGE
data     eni-1  1     2       eth2  9001  10.0.16.4,2001:db8::4  10.0.16.16/28,2001:db8:0:1::/80  tcpEstablishedTimeout=350,udpTimeout=30,udpStreamTimeout=60,enaQueues=8,enaExpress,enaExpress.udp,primaryIPv6  Ready    2026-11-24T15:00:00Z  -
storage  -      -     -       -     -     -                      -                                -                                                                                                              Pending  2026-11-24T15:00:00Z  waiting for EC2 to create the ENI
`},
		{"not running", func(s *files.State) { s.Status.ENIs = nil }, false,
			"Node node-1, cluster standalone, instance i-1 in us-east-1a\nThe agent is not running. This is the last report, 35m old.\n\nNo ENIs.\n"},
		{"before the first report", func(s *files.State) { s.Status = v1alpha1.NodeENIStateStatus{} }, true,
			"Node node-1, cluster standalone\nThe agent is ready. Its report last changed 35m ago.\n\nNo ENIs.\n"},
		{"files are wrong", func(s *files.State) {
			s.Status.ENIs = nil
			s.Files = []files.File{{Name: "a.yaml"}, {Name: "b.yaml", Error: "document 1: typo", NodeENIs: nodeENI}, {Name: "c.yaml", Error: "typo"}, {Name: "d.yaml", Error: "typo", Unknown: true}}
		}, true, `Node node-1, cluster standalone, instance i-1 in us-east-1a
The agent is ready. Its report last changed 35m ago.

No ENIs.

/etc/eni-agent/nodeeni.d/b.yaml is not valid; the agent uses its last valid contents: data, more.
  document 1: typo

/etc/eni-agent/nodeeni.d/c.yaml is not valid; the agent ignores it.
  typo

/etc/eni-agent/nodeeni.d/d.yaml is not valid; until you fix it, the agent keeps all ENIs that are in no other file.
  typo
`},
		{"the directory is gone", func(s *files.State) { s.Status.ENIs, s.Problem = nil, "the directory does not exist" }, true,
			"Node node-1, cluster standalone, instance i-1 in us-east-1a\nThe agent is ready. Its report last changed 35m ago.\n\nNo ENIs.\n\nthe directory does not exist\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := sampleState()
			test.change(&state)
			var out bytes.Buffer
			if err := printState(&out, "table", state, lifeOf(test.running), 35*time.Minute, nil); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got\n%s\nwant\n%s", &out, test.want)
			}
		})
	}
	if err := printState(new(bytes.Buffer), "wide", sampleState(), files.Life{Running: true}, 0, nil); err == nil || !strings.Contains(err.Error(), "must be table, json, or yaml") {
		t.Errorf("-o wide: %v", err)
	}
}

func lifeOf(running bool) files.Life {
	if running {
		return files.Life{Running: true}
	}
	return files.Life{Problem: "the agent is not running"}
}

func TestCheck(t *testing.T) {
	ready := func(s *files.State) { s.Status.ENIs = s.Status.ENIs[:1] }
	for _, test := range []struct {
		name    string
		change  func(*files.State)
		running bool
		err     string
	}{
		{"all is well", ready, true, ""},
		{"nothing is wanted", func(s *files.State) { s.Status.ENIs = nil }, true, ""},
		{"not running", ready, false, "the agent is not running"},
		{"not Ready", func(*files.State) {}, true, "an ENI of NodeENI storage is Pending"},
		{"a wrong file", func(s *files.State) { ready(s); s.Files = []files.File{{Name: "a.yaml", Error: "typo"}} }, true, "a.yaml is not valid"},
		{"no directory", func(s *files.State) { ready(s); s.Problem = "the directory is gone" }, true, "the directory is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := sampleState()
			test.change(&state)
			err := unwell(state, lifeOf(test.running))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want one with %q", err, test.err)
			}
		})
	}
}

// The line in systemctl status.
func TestSummary(t *testing.T) {
	state := sampleState()
	state.Status.ENIs = append(state.Status.ENIs, v1alpha1.ENIState{NodeENI: "old", Phase: v1alpha1.PhaseReleased},
		v1alpha1.ENIState{NodeENI: "bad", Phase: v1alpha1.PhaseFailed, Message: "no such subnet"})
	state.Files = []files.File{{Name: "a.yaml", Error: "typo"}, {Name: "b.yaml"}}
	const want = "1 of 3 ENIs ready; 1 being removed; not valid: a.yaml; bad: no such subnet"
	if got := summary(state); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out}
	entry := func(id, message string) v1alpha1.ENIState {
		return v1alpha1.ENIState{NodeENI: "data", SubnetID: "subnet-1", ENIID: id, Message: message}
	}
	for _, enis := range [][]v1alpha1.ENIState{
		{entry("eni-1", "detaching"), entry("eni-2", "deleting"), entry("", "looked for")},
		{entry("eni-1", "detaching"), entry("", "looked for")},
		{entry("eni-1", "deleting")},
		nil,
	} {
		p.changed(v1alpha1.NodeENIStateStatus{ENIs: enis})
	}
	const want = `eni-1 of NodeENI data: detaching
eni-2 of NodeENI data: deleting
an ENI in subnet-1 of NodeENI data: looked for
eni-2 of NodeENI data: deleted
eni-1 of NodeENI data: deleting
eni-1 of NodeENI data: deleted
`
	if out.String() != want || p.removed != 2 || len(p.left) > 0 {
		t.Errorf("%d removed, left %v, got\n%s", p.removed, p.left, &out)
	}
}

// Programs are told too that what they read is an old report.
func TestStatusForPrograms(t *testing.T) {
	for output, want := range map[string]string{
		"json": "\"agent\": {\n    \"running\": false,\n    \"problem\": \"the agent is not running\",\n    \"reportAgeSeconds\": 7200\n  }",
		"yaml": "agent:\n  problem: the agent is not running\n  reportAgeSeconds: 7200\n  running: false\n",
	} {
		var out bytes.Buffer
		if err := printState(&out, output, sampleState(), files.Life{Problem: "the agent is not running"}, 2*time.Hour, nil); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), sampleState().Metadata.Name) {
			t.Errorf("%s is\n%s", output, out.String())
		}
	}
}
