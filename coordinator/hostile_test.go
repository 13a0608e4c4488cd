package coordinator

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// TestNodesShareAttachments: a node that reports many failures leaves the others theirs.
func TestNodesShareAttachments(t *testing.T) {
	flood := func(node string) nodeReport {
		var entries []v1alpha1.ENIState
		for i := range 150 {
			entries = append(entries, entry(fmt.Sprint(i), v1alpha1.PhaseFailed, "flood"))
		}
		return reported(node, entries...)
	}
	for _, others := range []int{1, 60, 99, 150} {
		nodes := []nodeReport{flood("aaa")}
		for i := range others {
			phase := v1alpha1.PhaseReady
			if i%10 == 0 {
				phase = v1alpha1.PhaseFailed
			}
			nodes = append(nodes, reported(fmt.Sprintf("node-%03d", i), entry("a", phase, "")))
		}
		status := statusOf(validNodeENI(), nodes, testNow)
		of := map[string]int{}
		for _, a := range status.Attachments {
			of[a.NodeID]++
		}
		if want := min(others+150, v1alpha1.MaxAttachments); len(status.Attachments) != want {
			t.Errorf("%d others: %d attachments, want %d", others, len(status.Attachments), want)
		}
		if shown, want := len(of), min(others+1, v1alpha1.MaxAttachments); shown != want {
			t.Errorf("%d others: attachments of %d nodes, want %d", others, shown, want)
		}
		for i := 0; i < others; i += 10 {
			if of[fmt.Sprintf("node-%03d", i)] == 0 {
				t.Errorf("%d others: the failure of node %d is not shown", others, i)
			}
		}
	}
}

// drawReport is what an agent's token may have stored, before the schema had bounds
// or after.
func drawReport(c *draw.Choices) *v1alpha1.NodeENIState {
	text := func() string {
		return draw.Of(c, "", "a", "eni-1", strings.Repeat("<", 2000), strings.Repeat("x", 3000), "\x1b[2J\r\nforged", "\xff\xfe", strings.Repeat("界", 500), "\u202e")
	}
	report := &v1alpha1.NodeENIState{}
	report.Status.InstanceID, report.Status.Zone = draw.Of(c, "i-a", text()), text()
	for range draw.Of(c, 1, 2, 200) {
		report.Status.ENIs = append(report.Status.ENIs, v1alpha1.ENIState{
			NodeENI: draw.Of(c, "multi", text()), NodeENIUID: types.UID(draw.Of(c, "uid-1", "uid-1", "uid-1", text())),
			ObservedGeneration: draw.Of(c, int64(3), -1, 1<<62), SubnetID: text(), SubnetCIDR: text(), ENIID: text(), AttachmentID: text(),
			DeviceIndex: draw.Of(c, int32(1), -1<<31), MTU: draw.Of(c, int32(9001), -1), MAC: text(), Addresses: []string{text()}, InterfaceName: text(),
			Phase: draw.Of(c, v1alpha1.PhaseFailed, v1alpha1.PhaseReady, v1alpha1.Phase(text())), Reason: text(), Message: text(), Replaces: text(),
			LastTransitionTime: metav1.NewTime(draw.Of(c, testNow, time.Time{}, testNow.AddDate(7973, 0, 0), testNow.AddDate(20000, 0, 0), testNow.AddDate(-5000, 0, 0))),
		})
	}
	return report
}

// FuzzStatus: whatever reports say, the status stays small, printable and one that
// the API server takes, and a node that is well is shown.
func FuzzStatus(f *testing.F) {
	draw.Fuzz(f, 100, func(t *testing.T, c *draw.Choices) {
		nodes := []nodeReport{reported("zzz", entry("a", v1alpha1.PhaseReady, ""))}
		for i := 0; i < 150 && c.More(); i++ {
			nr := silent(fmt.Sprintf("node-%03d", i))
			nr.report = drawReport(c)
			if _, err := trim(nr.report); err != nil { // as the cache does
				t.Fatal(err)
			}
			nodes = append(nodes, nr)
		}
		n := validNodeENI()
		n.Status = statusOf(n, nodes, testNow)
		encoded, err := json.Marshal(n)
		if err != nil || len(encoded) > 100<<10 {
			t.Fatalf("the object has %d bytes (%v), want at most 100 KiB", len(encoded), err)
		}
		if len(n.Status.Attachments) > v1alpha1.MaxAttachments || int(n.Status.Nodes.Matching) != len(nodes) || n.Status.Nodes.Ready < 1 {
			t.Fatalf("%d attachments, counts %+v of %d nodes", len(n.Status.Attachments), n.Status.Nodes, len(nodes))
		}
		if n := utf8.RuneCountInString(n.Status.Conditions[0].Message); n > 2048 {
			t.Fatalf("the condition's message has %d characters", n)
		}
		for _, a := range n.Status.Attachments {
			if v1alpha1.Printable(a.Message) != a.Message || len(a.Message) > maxMessage || utf8.RuneCountInString(a.Status) > v1alpha1.MaxWordLength {
				t.Fatalf("status %q, message %q", a.Status, a.Message)
			}
			if year := a.LastUpdated.UTC().Year(); a.LastUpdated.IsZero() || year < 1970 || year > 9999 {
				t.Fatalf("lastUpdated %v", a.LastUpdated)
			}
		}
	})
}

// TestHostileReports: what one agent's token stores does not keep the status of a
// NodeENI from being written.
func TestHostileReports(t *testing.T) {
	r := newRig(t)
	a, b := r.newNode("node-a"), r.newNode("node-b")
	n := r.nodeENI("multi")
	r.startLeading()
	r.awaitFinalizer(n)
	hostile := func(change func(map[string]any)) map[string]any {
		e := map[string]any{"nodeENI": n.Name, "nodeENIUID": string(n.UID), "observedGeneration": 1, "phase": "Failed", "lastTransitionTime": "2026-01-02T03:04:05Z"}
		change(e)
		return e
	}
	long := strings.Repeat("x", 300_000)
	var many []any
	for i := range 150 {
		many = append(many, hostile(func(e map[string]any) { e["eniID"] = fmt.Sprint("eni-", i) }))
	}
	one := func(change func(map[string]any)) []any { return []any{hostile(change)} }
	stored := 0
	for name, enis := range map[string][]any{
		"four long strings": one(func(e map[string]any) {
			e["eniID"], e["attachmentID"], e["subnetID"], e["subnetCIDR"] = long, long, long, long
		}),
		"a long message":    one(func(e map[string]any) { e["message"] = strings.Repeat("<", 1024) }),
		"many":              many,
		"as many as may be": many[:v1alpha1.MaxENIs],
		"no time":           one(func(e map[string]any) { e["lastTransitionTime"] = "0001-01-01T00:00:00Z" }),
		"before all time":   one(func(e map[string]any) { e["lastTransitionTime"] = "0000-01-01T00:00:00+23:00" }),
		"after all time":    one(func(e map[string]any) { e["lastTransitionTime"] = "9999-12-31T23:59:59-23:00" }),
		"odd numbers":       one(func(e map[string]any) { e["deviceIndex"], e["mtu"] = -1<<31, -1 }),
	} {
		r.remove(r.kube.API, kube.NodeENIStates, "node-b")
		body, err := json.Marshal(map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NodeENIState", "metadata": map[string]any{"name": "node-b"},
			"status": map[string]any{"instanceID": b, "zone": "us-east-1a", "enis": enis},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = r.kube.API.Post().Resource(kube.NodeENIStates).Body(body).Do(t.Context()).Error()
		if apierrors.IsInvalid(err) {
			continue // at the door
		}
		if err != nil {
			t.Fatal(err)
		}
		stored++
		id := fmt.Sprintf("eni-%d", stored)
		r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
		r.await("the status beside a report with "+name, func() bool {
			now := r.getNodeENI(n.Name)
			ofA, ofB := false, false
			for _, at := range now.Status.Attachments {
				ofA = ofA || at.ENIID == id
				ofB = ofB || at.NodeID == "node-b"
			}
			return ofA && ofB
		})
	}
	if stored < 4 {
		t.Errorf("only %d of the reports were stored", stored)
	}
}
