package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// onDemandIdle is how long an ENI stays without a claim.
const onDemandIdle = time.Minute

// claims are the ResourceClaims and ResourceSlices of the API server, with a scheduler.
type claims struct {
	*world
	files agent.ClaimFiles

	mu       sync.Mutex
	slices   []kube.ResourceSliceSpec
	places   map[string]place // by device, ever
	followed []types.NamespacedName
	pending  []string // claims without a device
	attached map[string]time.Time
	failures map[string]string // claims that could not have a device, and why
	writes   int               // of slices
	reports  int               // to claims
	born     int
	only     string // NodeENI whose devices are allocated; empty for all
	kept     []string
	refuses  error // to write slices and claims
}

// withClaims replaces the NodeENIs by some whose ENIs are claimed.
func (w *world) withClaims(names ...string) *claims {
	dir := w.TempDir()
	c := &claims{
		world: w, files: agent.ClaimFiles{ClaimsDir: filepath.Join(dir, "claims"), DataDir: filepath.Join(dir, "attachments")},
		places: map[string]place{}, attached: map[string]time.Time{}, failures: map[string]string{},
	}
	w.claims = c
	w.change(func(s *agent.Snapshot) {
		s.NodeENIs, s.ClaimsKnown = nil, true
		for _, name := range names {
			s.NodeENIs = append(s.NodeENIs, onDemandNodeENI(name))
		}
	})
	w.parallel.Go(c.schedule)
	return c
}

func onDemandNodeENI(name string) v1alpha1.NodeENI {
	n := v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec: v1alpha1.NodeENISpec{
			NodeSelector: map[string]string{"on": "yes"}, SubnetIDs: []string{subnetA}, SecurityGroupIDs: []string{groupX}, Attach: v1alpha1.AttachOnDemand, MTU: 9001,
		},
	}
	v1alpha1.Default(&n)
	return n
}

// server is the agent.Claims of a process.
type claimServer struct {
	*process
	*claims
}

func (s claimServer) Follow(claims []types.NamespacedName) {
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	s.followed = claims
}

func (s claimServer) Publish(ctx context.Context, pool agent.Pool) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	if s.claims.refuses != nil {
		return s.claims.refuses
	}
	s.slices, s.kept = pool.Slices, pool.Keep
	s.writes++
	for _, slice := range pool.Slices {
		for _, d := range slice.Devices {
			number := d.Name[strings.LastIndexByte(d.Name, '-')+1:]
			s.places[d.Name] = place{types.UID("uid-" + *d.Attributes["nodeENI"].String), *d.Attributes["subnetID"].String, number}
		}
	}
	return nil
}

// Report looks at what the pod would find at this moment.
func (s claimServer) Report(ctx context.Context, c agent.Claim, status kube.AllocatedDevice) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	if err := s.refused(); err != nil {
		return err
	}
	if meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached) {
		s.checkAttached(c, status)
	}
	if meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttachFailed) && !s.hasTaint(c.Device) {
		s.Errorf("%v: claim %s failed, and the scheduler may take %s again: %+v", time.Now(), c.Name, c.Device, status)
	}
	found := false
	s.memory.set(func(m *memory) {
		m.wanted.Claims = slices.Clone(m.wanted.Claims)
		for i := range m.wanted.Claims {
			if is := &m.wanted.Claims[i]; is.UID == c.UID && is.Device == c.Device {
				is.Status, found = status.DeepCopy(), true
			}
		}
	})
	if !found {
		return errors.New("the claim is no longer allocated to the device")
	}
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	s.reports++
	if _, ok := s.attached[c.Name]; !ok && meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached) {
		s.attached[c.Name] = time.Now()
	}
	return nil
}

func (c *claims) refused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refuses
}

func (c *claims) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = err
}

func (c *claims) hasTaint(device string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, slice := range c.slices {
		for _, d := range slice.Devices {
			if d.Name == device {
				return len(d.Taints) > 0
			}
		}
	}
	return true
}

func (s claimServer) checkAttached(c agent.Claim, status kube.AllocatedDevice) {
	at := s.placeOfDevice(c.Device)
	for _, e := range s.living() {
		if placeOf(e) != at || e.Attachment == nil {
			continue
		}
		file, err := claimnetwork.Read(s.files.ClaimsDir, string(c.UID))
		link, here := s.host.Links.Links()[e.MAC]
		if !here && !s.inPods() || here && link.MTU != 9001 || err != nil || !file.Devices[0].ENI.Ready || file.Devices[0].ENI.ID != e.ID || status.NetworkData.HardwareAddress != e.MAC {
			s.Errorf("%v: claim %s is said to be attached: link %v %+v, file %+v %v, status %+v", time.Now(), c.Name, here, link, file, err, status.NetworkData)
		}
		return
	}
	s.Errorf("%v: claim %s is said to be attached to %s, where nothing is", time.Now(), c.Name, c.Device)
}

func (c *claims) inPods() bool {
	all, _ := claimnetwork.Attachments(c.files.DataDir)
	return len(all) > 0
}

func (c *claims) placeOfDevice(device string) place {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.places[device]
}

// claim makes a claim, which the scheduler allocates.
func (c *claims) claim() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.born++
	name := fmt.Sprintf("claim-%d", c.born)
	c.pending = append(c.pending, name)
	return name
}

// drop deletes a claim.
func (c *claims) dropClaim(name string) {
	c.change(func(s *agent.Snapshot) {
		s.Claims = slices.DeleteFunc(slices.Clone(s.Claims), func(o agent.Claim) bool { return o.Name == name })
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = slices.DeleteFunc(c.pending, func(o string) bool { return o == name })
	delete(c.attached, name)
}

// names are the claims that there are.
func (c *claims) names() []string {
	var names []string
	for _, claim := range c.memory.truth().Claims {
		names = append(names, claim.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(names, c.pending...)
}

// schedule allocates devices to claims, and takes them away where that has failed.
func (c *claims) schedule() {
	for {
		select {
		case <-c.over:
			return
		case <-time.After(time.Second):
		}
		c.takeBack()
		c.allocate()
	}
}

func (c *claims) takeBack() {
	for _, claim := range c.memory.truth().Claims {
		if claim.Status == nil {
			continue
		}
		failed := meta.FindStatusCondition(claim.Status.Conditions, driver.ConditionAttachFailed)
		if failed == nil || failed.Status != metav1.ConditionTrue {
			continue
		}
		c.dropClaim(claim.Name)
		c.mu.Lock()
		c.failures[claim.Name] = failed.Reason
		c.pending = append(c.pending, claim.Name)
		c.mu.Unlock()
	}
}

func (c *claims) allocate() {
	for {
		used := map[string]bool{}
		for _, claim := range c.memory.truth().Claims {
			used[claim.Device] = true
		}
		c.mu.Lock()
		device := c.free(used)
		if device == "" || len(c.pending) == 0 {
			c.mu.Unlock()
			return
		}
		name := c.pending[0]
		c.pending = c.pending[1:]
		c.mu.Unlock()
		c.change(func(s *agent.Snapshot) {
			s.Claims = append(slices.Clone(s.Claims), agent.Claim{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Device: device, Pods: []types.UID{"pod"}})
		})
	}
}

// free is the first device that may be allocated.
func (c *claims) free(used map[string]bool) string {
	room := map[string]int{}
	for _, slice := range c.slices {
		for _, set := range slice.SharedCounters {
			room[set.Name], _ = strconv.Atoi(set.Counters["places"].Value)
		}
	}
	for _, slice := range c.slices {
		for _, d := range slice.Devices {
			if used[d.Name] {
				room[d.ConsumesCounters[0].CounterSet]--
			}
		}
	}
	for _, slice := range c.slices {
		for _, d := range slice.Devices {
			if c.only != "" && *d.Attributes["nodeENI"].String != c.only {
				continue
			}
			if !used[d.Name] && len(d.Taints) == 0 && room[d.ConsumesCounters[0].CounterSet] > 0 {
				return d.Name
			}
		}
	}
	return ""
}

// wantedByClaims are the places that claims have.
func (c *claims) wanted(s agent.Snapshot, n v1alpha1.NodeENI) map[place]v1alpha1.NodeENISpec {
	all := map[place]v1alpha1.NodeENISpec{}
	for _, claim := range s.Claims {
		if at := c.placeOfDevice(claim.Device); at.uid == n.UID {
			all[at] = n.Spec
		}
	}
	return all
}

// checkClaims: each claim that has a device has its ENI, and says so.
func (c *claims) checkClaims() {
	c.Helper()
	for _, claim := range c.memory.truth().Claims {
		if claim.Status == nil || !meta.IsStatusConditionTrue(claim.Status.Conditions, driver.ConditionAttached) {
			c.Errorf("%s on %s reports %+v", claim.Name, claim.Device, claim.Status)
		}
	}
	files, err := claimnetwork.List(c.files.ClaimsDir)
	if err != nil || len(files) != len(c.memory.truth().Claims) {
		c.Errorf("%d claims have the files %+v, %v", len(c.memory.truth().Claims), files, err)
	}
}

// settledClaims is a world in which an agent runs and nothing is claimed.
func settledClaims(t *testing.T, names ...string) *claims {
	w := newWorld(t, draw.From(nil))
	c := w.withClaims(names...)
	w.boot()
	pass(10 * time.Second)
	if len(w.living()) > 0 || len(c.slices) < 2 || w.memory.saved().InstanceID == "" {
		t.Fatalf("%d ENIs, slices %+v", len(w.living()), c.slices)
	}
	w.cloud.ResetCalls()
	return c
}
