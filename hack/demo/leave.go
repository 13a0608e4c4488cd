package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const unlabelled = "node-3"

// unlabel takes the label from one node and follows its ENIs out.
func (d *demo) unlabel(ctx context.Context) error {
	d.out.chapter("7. Remove the label from a node: its ENIs are deleted")
	d.out.text(fmt.Sprintf("$ kubectl label node %s %s-", unlabelled, labelKey))
	d.out.printf("\n")
	departures := newDepartures(d.tb.ENIs(), unlabelled)
	if err := d.tb.Unlabel(ctx, unlabelled, labelKey); err != nil {
		return err
	}
	if err := d.awaitDepartures(ctx, departures); err != nil {
		return err
	}
	d.out.printf("\n")
	d.out.text(`The agent took the links down, and the coordinator detached and deleted the ENIs.
The simulated EC2 takes 2.5 s to detach an ENI and, like EC2, refuses to delete it
for a moment after that.`)
	return nil
}

// delete deletes the NodeENIs and follows the remaining ENIs out.
func (d *demo) delete(ctx context.Context) error {
	d.out.chapter("8. Delete the NodeENIs: all remaining ENIs are deleted first")
	d.out.text("$ kubectl delete nodeenis --all")
	d.out.printf("\n")
	enis, err := d.tb.NodeENIs(ctx)
	if err != nil {
		return err
	}
	departures := newDepartures(d.tb.ENIs(), "")
	for _, e := range enis {
		if err := d.tb.DeleteNodeENI(ctx, e.Name); err != nil {
			return fmt.Errorf("delete NodeENI %s: %w", e.Name, err)
		}
	}
	if err := d.awaitDepartures(ctx, departures); err != nil {
		return err
	}
	err = d.await(ctx, "the coordinator has removed the finalizers of the NodeENIs", func(ctx context.Context) error {
		enis, err := d.tb.NodeENIs(ctx)
		if err == nil && len(enis) > 0 {
			err = fmt.Errorf("%s still has the finalizers %q", enis[0].Name, enis[0].Finalizers)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.out.printf("\n")
	d.out.step(time.Since(departures.began), "both NodeENIs are deleted")
	return nil
}

// newDepartures lists the ENIs that are to go: those of a node, or all with "".
func newDepartures(enis []cloud.Interface, node string) *progress {
	p := newProgress(time.Now(), "RELEASE", "DETACH", "DELETE")
	for _, e := range enis {
		if name := e.Tags[eni.TagNode]; node == "" || name == node {
			p.row(name, e.Tags[eni.TagNodeENI]).eni = e.ID
		}
	}
	return p
}

func (d *demo) awaitDepartures(ctx context.Context, p *progress) error {
	return d.await(ctx, "the ENIs are deleted in EC2", func(ctx context.Context) error {
		states, err := d.tb.States(ctx)
		if err != nil {
			return err
		}
		p.followOut(states, d.tb.ENIs(), time.Now())
		d.out.draw(p.lines())
		if rest := p.unfinished(); len(rest) > 0 {
			return errors.New(strings.Join(rest, "; "))
		}
		return nil
	})
}

// followOut notes how far the ENIs have gone: the agents report when a link is
// down, EC2 knows the rest.
func (p *progress) followOut(states []v1alpha1.NodeENIState, enis []cloud.Interface, now time.Time) {
	phases := map[string]v1alpha1.Phase{}
	for _, s := range states {
		for _, e := range s.Status.ENIs {
			phases[e.ENIID] = e.Phase
		}
	}
	existing := map[string]cloud.Interface{}
	for _, e := range enis {
		existing[e.ID] = e
	}
	for _, r := range p.rows {
		e, exists := existing[r.eni]
		n, state := departed(phases[r.eni], e, exists)
		r.reach(n, now.Sub(p.began))
		r.state = state
	}
}

// departed counts the steps that an ENI has taken: released by its agent,
// detached, deleted.
func departed(phase v1alpha1.Phase, e cloud.Interface, exists bool) (int, string) {
	switch {
	case !exists:
		return 3, "deleted"
	case e.Attachment == nil:
		return 2, "detached"
	case e.Attachment.Status == cloud.AttachmentDetaching:
		return 1, "detaching"
	case phase == v1alpha1.PhaseReleased:
		return 1, "link down"
	}
	return 0, "in use"
}
