package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

const (
	// podsNamed is how many pods an Event names.
	podsNamed = 10
	// reclaimEvery is how often addresses are looked for that pods have left behind, and
	// reclaimAfter how long they stay: the runtime's DEL may still come.
	reclaimEvery = 5 * time.Minute
	reclaimAfter = 10 * time.Minute
)

var reclaimKey = retry.Key{Action: "reclaim"}

// attachments are those that the CNI plugin has written down. What cannot be read is
// logged, and left out.
func (p *pods) attachments() []podnetwork.Attachment {
	all, err := podnetwork.Attachments(p.Pods.DataDir)
	if err != nil {
		p.Log.Warn("cannot read all attachments of pods", "directory", p.Pods.DataDir, "error", err)
	}
	return all
}

// holder is the pod that has the ENI's link to itself, "" when none has.
func (p *pods) holder(eniID string) string {
	if p.Pods == nil {
		return ""
	}
	for _, a := range p.attachments() {
		if a.ENI == eniID && a.Mode == podnetwork.HostDevice && !a.Leaked() {
			return a.Holder()
		}
	}
	return ""
}

const linkIsIn = "the link is in the network namespace of "

// heldBy says where a link is that the CNI plugin eni has moved.
func (l linkState) heldBy() string {
	if l.pod == "" {
		return ""
	}
	return linkIsIn + l.pod
}

// withoutHolder is the message of an ENI without where its link is, which comes last.
func withoutHolder(message string) string {
	message, _, _ = strings.Cut(message, linkIsIn)
	return strings.TrimSuffix(message, "; ")
}

// tellWhoLoses names the pods that use ENIs which were offered before, and are not any
// more.
func (p *pods) tellWhoLoses(before []podnetwork.Network) {
	offered := map[string]bool{}
	for _, n := range p.networks {
		for _, e := range n.ENIs {
			offered[e.ID] = true
		}
	}
	for _, n := range before {
		for _, e := range n.ENIs {
			if !offered[e.ID] {
				p.tellWhoLosesENI(n, e.ID)
			}
		}
	}
}

func (p *pods) tellWhoLosesENI(n podnetwork.Network, eniID string) {
	var names []string
	for _, a := range p.attachments() {
		if a.ENI == eniID && !a.Leaked() {
			names = append(names, a.Holder())
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	text := strings.Join(names[:min(len(names), podsNamed)], ", ")
	if more := len(names) - podsNamed; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	p.tellPodsLose(n.NodeENI, types.UID(n.NodeENIUID), eniID+" is no longer for pods. These pods keep running, but their interface has no connectivity; delete them so that they are created again: "+text)
}

// tellPodsLose reports to the NodeENI and to the Node which pods lose the network of an ENI.
func (s *shared) tellPodsLose(nodeENI string, uid types.UID, message string) {
	s.Log.Warn("pods lose the network of an ENI", "nodeENI", nodeENI, "message", message)
	about := kube.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: nodeENI, UID: uid}
	s.Recorder.Event(about, kube.EventWarning, "PodsLoseNetwork", "node %s: %s", s.Node, message)
	s.Recorder.Event(kube.NodeRef(s.Node), kube.EventWarning, "PodsLoseNetwork", "NodeENI %s: %s", nodeENI, message)
}

// check looks at the files though nothing has happened, and for what pods have left
// behind.
func (p *pods) check(ctx context.Context, now time.Time) {
	p.save(now)
	if now.Before(p.reclaimDue) || p.calls.busy(reclaimKey) {
		return
	}
	p.reclaimDue = now.Add(reclaimEvery)
	leaked := p.leaked
	p.calls.start(ctx, pollTimeout, reclaimKey, call{}, func(context.Context) func() {
		still := map[podInterface]time.Time{}
		reclaimed, err := podnetwork.Reclaim(p.Pods.DataDir, func(a podnetwork.Attachment) bool {
			id := podInterface{a.ContainerID, a.Interface}
			since, seen := leaked[id]
			if !seen {
				since = now
			}
			still[id] = since
			return now.Sub(since) >= reclaimAfter
		})
		return func() {
			p.leaked = still
			for _, a := range reclaimed {
				p.Log.Info("reclaimed an address of a pod that no longer exists", "nodeENI", a.NodeENI, "eni", a.ENI, "pod", a.Holder(), "addresses", a.Addresses)
			}
			if err != nil {
				p.Log.Warn("cannot reclaim all addresses of pods that no longer exist; retrying", "error", err, "in", reclaimEvery)
			}
		}
	})
}

// podInterface is what an attachment is of.
type podInterface struct{ container, name string }

// PodCounters serve how many addresses pods use. Each scrape reads the plugin's files in
// its own goroutine; of the loop it has what the NodeENIs offer. A nil one serves nothing.
type PodCounters struct {
	dataDir  string
	log      *slog.Logger
	networks atomic.Pointer[[]podnetwork.Network]
}

var podAddresses = prometheus.NewDesc("eni_agent_pod_addresses",
	"Number of addresses for pods by NodeENI and state: in_use, free, leaked (the pod no longer exists; the agent frees the address after 10 minutes). A pod with an address of each IP family counts once. Only with --pods.",
	[]string{"nodeeni", "state"}, nil)

// NewPodCounters makes and registers them.
func NewPodCounters(registry prometheus.Registerer, dataDir string, log *slog.Logger) *PodCounters {
	c := &PodCounters{dataDir: dataDir, log: log}
	registry.MustRegister(c)
	return c
}

// show gives scrapes what NodeENIs offer now. The list is never changed.
func (c *PodCounters) show(networks []podnetwork.Network) {
	if c != nil {
		c.networks.Store(&networks)
	}
}

// Describe implements prometheus.Collector.
func (c *PodCounters) Describe(descs chan<- *prometheus.Desc) { descs <- podAddresses }

// Collect implements prometheus.Collector.
func (c *PodCounters) Collect(metrics chan<- prometheus.Metric) {
	networks := c.networks.Load()
	if networks == nil {
		return // nothing is known yet
	}
	attachments, err := podnetwork.Attachments(c.dataDir)
	if err != nil {
		c.log.Warn("cannot read all attachments of pods; /metrics omits their addresses this time", "error", err)
	}
	for _, u := range podnetwork.Usages(*networks, attachments) {
		for state, n := range map[string]int{"in_use": u.InUse - u.Leaked, "leaked": u.Leaked, "free": u.Free} {
			metrics <- prometheus.MustNewConstMetric(podAddresses, prometheus.GaugeValue, float64(n), u.NodeENI, state)
		}
	}
}
