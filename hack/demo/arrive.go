package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// ready labels the nodes and follows their ENIs until all are Ready.
func (d *demo) ready(ctx context.Context) error {
	d.out.chapter("3. Label the nodes: the agent on each node adds its ENIs")
	enis, err := d.tb.NodeENIs(ctx)
	if err != nil {
		return err
	}
	d.out.text(fmt.Sprintf("$ kubectl label nodes --all %s=%s", labelKey, labelValue))
	d.out.printf("\n")
	arrivals := newProgress(time.Now(), "CREATE", "ATTACH", "LINK", "READY")
	for _, n := range d.tb.Sim.Nodes() {
		for _, e := range enis {
			arrivals.row(n.Name, e.Name)
		}
		if err := d.tb.Label(ctx, n.Name, labelKey, labelValue); err != nil {
			return fmt.Errorf("label %s: %w", n.Name, err)
		}
	}
	err = d.await(ctx, "every ENI is Ready", func(ctx context.Context) error {
		states, err := d.tb.States(ctx)
		if err != nil {
			return err
		}
		arrivals.follow(states, time.Now())
		d.out.draw(arrivals.lines())
		if rest := arrivals.unfinished(); len(rest) > 0 {
			return errors.New(strings.Join(rest, "; "))
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.out.printf("\n")
	d.out.text(`Each call to the simulated EC2 takes 0.3 s, and a link appears 0.7 s after its
attachment began. A node attaches its ENIs one at a time; nodes work in parallel.`)
	return d.showNodeENIs(ctx)
}

// follow notes how far the agents' reports say that the ENIs have come.
func (p *progress) follow(states []v1alpha1.NodeENIState, now time.Time) {
	for _, s := range states {
		for _, e := range s.Status.ENIs {
			r := p.row(s.Name, e.NodeENI)
			r.eni, r.state, r.why = e.ENIID, string(e.Phase), e.Message
			r.reach(arrived(e), now.Sub(p.began))
			if e.Phase == v1alpha1.PhaseReady {
				r.state = "Ready as " + e.InterfaceName
			}
		}
	}
}

// arrived counts the steps that an ENI has taken: created, attached, link
// there, ready.
func arrived(e v1alpha1.ENIState) int {
	switch {
	case e.Phase == v1alpha1.PhaseReady:
		return 4
	case e.InterfaceName != "":
		return 3
	case e.AttachmentID != "":
		return 2
	case e.ENIID != "":
		return 1
	}
	return 0
}

// showNodeENIs waits for the coordinator to say the same, and shows it.
func (d *demo) showNodeENIs(ctx context.Context) error {
	var enis []v1alpha1.NodeENI
	err := d.await(ctx, "the coordinator has reported every NodeENI as Ready", func(ctx context.Context) (err error) {
		if enis, err = d.tb.NodeENIs(ctx); err != nil {
			return err
		}
		for _, e := range enis {
			if c := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Status != "True" {
				return fmt.Errorf("%s: %d of %d nodes are ready", e.Name, e.Status.Nodes.Ready, e.Status.Nodes.Matching)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.out.printf("\n")
	d.out.text("$ kubectl get nodeenis")
	d.out.text(fmt.Sprintf("%-8s  %8s  %5s  %6s", "NAME", "MATCHING", "READY", "FAILED"))
	for _, e := range enis {
		n := e.Status.Nodes
		d.out.text(fmt.Sprintf("%-8s  %8d  %5d  %6d", e.Name, n.Matching, n.Ready, n.Failed))
	}
	return nil
}
