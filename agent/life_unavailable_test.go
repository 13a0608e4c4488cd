package agent_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// The report says why the cluster cannot serve ENIs on demand, until it can.
func TestClaimsUnavailable(t *testing.T) {
	problem := func(c *claims) string {
		for _, entry := range c.memory.saved().ENIs {
			if entry.Reason == "OnDemandUnavailable" && entry.Phase == v1alpha1.PhaseFailed && entry.NodeENI == "od" && entry.SubnetID == "" {
				return entry.Message
			}
		}
		return ""
	}
	unavailable := &agent.UnavailableError{Err: errors.New("forbidden; install the component")}
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, draw.From(nil)).withClaims("od")
		c.refuse(unavailable)
		c.boot()
		pass(10 * time.Minute)
		if got := problem(c); got != unavailable.Error() || len(c.slices) > 0 {
			t.Errorf("slices cannot be written: reported is %+v", c.memory.saved())
		}
		times := c.memory.saved().ENIs[0].LastTransitionTime
		pass(10 * time.Minute)
		if saved := c.memory.saved(); !saved.ENIs[0].LastTransitionTime.Equal(&times) {
			t.Errorf("reported again and again: %+v", saved)
		}
		c.refuse(nil)
		pass(2 * time.Minute)
		if got := problem(c); got != "" || len(c.slices) == 0 {
			t.Errorf("slices can be written: %q, %+v", got, c.slices)
		}
		c.claim()
		pass(time.Second + 100*time.Millisecond)
		c.refuse(unavailable)
		pass(time.Minute)
		if got := problem(c); got != unavailable.Error() || len(c.attached) > 0 {
			t.Errorf("claims cannot be written: reported is %+v", c.memory.saved())
		}
		c.refuse(nil)
		pass(2 * time.Minute)
		if got := problem(c); got != "" || len(c.attached) != 1 {
			t.Errorf("claims can be written: %q, attached are %v", got, c.attached)
		}
		c.end()
	})
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, draw.From(nil)).withClaims("od")
		c.refuse(errors.New("the API server is overloaded"))
		c.boot()
		pass(10 * time.Minute)
		if got := problem(c); got != "" {
			t.Errorf("the API server may recover: %q", got)
		}
		c.end()
	})
}

// A NodeENI whose names cannot be looked up holds back only its own devices.
func TestClaimsUnresolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, draw.From(nil)).withClaims("a", "b")
		c.change(func(s *agent.Snapshot) {
			s.NodeENIs[1].Spec.SecurityGroupIDs, s.NodeENIs[1].Spec.SecurityGroupNames = nil, []string{"x"}
		})
		c.must(c.cloud.Inject(cloud.Fault{Action: "DescribeSecurityGroups", Count: 1000, Code: "UnauthorizedOperation"}))
		c.boot()
		pass(time.Minute)
		nodeENIs := func() (names []string) {
			for _, slice := range c.slices {
				for _, d := range slice.Devices {
					names = append(names, *d.Attributes["nodeENI"].String)
				}
			}
			return slices.Compact(names)
		}
		if got := nodeENIs(); !slices.Equal(got, []string{"a"}) || !slices.Equal(c.kept, []string{"b"}) {
			t.Errorf("published are devices of %v, kept those of %v", got, c.kept)
		}
		c.claim()
		pass(10 * time.Second)
		c.checkClaims()
		if len(c.attached) != 1 {
			t.Errorf("attached are %v", c.attached)
		}
		c.cloud.ClearFaults()
		pass(10 * time.Minute)
		if got := nodeENIs(); !slices.Contains(got, "b") || len(c.kept) > 0 {
			t.Errorf("published are devices of %v, kept those of %v", got, c.kept)
		}
		c.end()
	})
}
