package main

import (
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestArrivals(t *testing.T) {
	p := newProgress(time.Time{}, "CREATE", "ATTACH", "LINK", "READY")
	for _, node := range []string{"node-2", "node-1"} {
		p.row(node, "data")
	}
	report := func(after time.Duration, node string, e v1alpha1.ENIState) {
		e.NodeENI = "data"
		s := v1alpha1.NodeENIState{Status: v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{e}}}
		s.Name = node
		p.follow([]v1alpha1.NodeENIState{s}, p.began.Add(after))
	}
	report(500*time.Millisecond, "node-1", v1alpha1.ENIState{Phase: "Attaching", ENIID: "eni-1"})
	report(time.Second, "node-1", v1alpha1.ENIState{Phase: "Configuring", ENIID: "eni-1", AttachmentID: "eni-attach-1"})
	report(1600*time.Millisecond, "node-1", v1alpha1.ENIState{Phase: "Ready", ENIID: "eni-1", AttachmentID: "eni-attach-1", InterfaceName: "eth1"})
	const header = "NODE    NODEENI   CREATE  ATTACH    LINK   READY   TOTAL  STATE              ENI\n"
	want := header +
		"node-1  data       0.5 s   0.5 s   0.6 s  <0.1 s   1.6 s  Ready as eth1      eni-1"
	if got := strings.Join(p.lines(), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := strings.Join(p.unfinished(), ";"); got != "data of node-2: no report" {
		t.Errorf("unfinished: %q", got)
	}
	report(2*time.Second, "node-2", v1alpha1.ENIState{Phase: "Failed", Message: "the subnet is full"})
	if got := strings.Join(p.unfinished(), ";"); got != "data of node-2: the subnet is full" {
		t.Errorf("unfinished: %q", got)
	}
	want += "\nnode-2  data           ·       ·       ·       ·       ·  Failed"
	if got := strings.Join(p.lines(), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestDeparted(t *testing.T) {
	attachment := func(status string) cloud.Interface {
		return cloud.Interface{Attachment: &cloud.Attachment{Status: status}}
	}
	for _, test := range []struct {
		phase  v1alpha1.Phase
		eni    cloud.Interface
		exists bool
		steps  int
		state  string
	}{
		{v1alpha1.PhaseReady, attachment(cloud.AttachmentAttached), true, 0, "in use"},
		{v1alpha1.PhaseReleased, attachment(cloud.AttachmentAttached), true, 1, "link down"},
		{"", attachment(cloud.AttachmentDetaching), true, 1, "detaching"},
		{v1alpha1.PhaseReleased, cloud.Interface{}, true, 2, "detached"},
		{v1alpha1.PhaseReleased, cloud.Interface{}, false, 3, "deleted"},
	} {
		if steps, state := departed(test.phase, test.eni, test.exists); steps != test.steps || state != test.state {
			t.Errorf("%+v: %d %s", test, steps, state)
		}
	}
}

func TestDraw(t *testing.T) {
	for _, test := range []struct {
		name     string
		terminal bool
		want     string
	}{
		{"a terminal is redrawn in place", true, "\r  one\x1b[K\n\x1b[1A\r  one\x1b[K\n\r  two, w…\x1b[K\nend\n\r  one\x1b[K\n"},
		{"elsewhere changed lines are added", false, "  one\n  two, which is long\nend\n  one\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			s := &screen{out: &b, terminal: test.terminal, width: 10}
			s.draw([]string{"one"})
			s.draw([]string{"one", "two, which is long"})
			s.printf("end\n")
			s.draw([]string{"one"})
			if b.String() != test.want {
				t.Errorf("got %q, want %q", b.String(), test.want)
			}
		})
	}
}

// Chapters and commands stand out on a terminal that has colours, and nothing else does.
func TestStyles(t *testing.T) {
	for _, test := range []struct {
		colours bool
		want    string
	}{
		{true, "\n\x1b[1mone\x1b[0m\n\n\x1b[36m  $ kubectl get nodes\x1b[0m\n  NAME\n"},
		{false, "\none\n\n  $ kubectl get nodes\n  NAME\n"},
	} {
		var b strings.Builder
		s := &screen{out: &b, terminal: test.colours, colours: test.colours}
		s.chapter("one")
		s.text("$ kubectl get nodes\nNAME\n")
		if b.String() != test.want {
			t.Errorf("colours %v: got %q, want %q", test.colours, b.String(), test.want)
		}
	}
}
