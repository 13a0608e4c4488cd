package dra

import (
	"context"
	"errors"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

const (
	// repairEvery is how often the driver checks that pods still have their links.
	repairEvery = 10 * time.Second
	// restoreEvery is how often it does so while a link is missing.
	restoreEvery = 2 * time.Second
)

// keepRepairing checks until ctx ends that pods still have their links.
func (d *Driver) keepRepairing(ctx context.Context) {
	var logged string
	for wait := time.Duration(0); backoff.Sleep(ctx, wait) == nil; {
		missing, err := d.repair()
		if wait = repairEvery; missing {
			wait = restoreEvery
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != logged {
			d.Log.Warn("cannot check or restore all links of ENIs in pods; retrying", "error", err)
		}
		logged = text
	}
}

// repair does so once, and reports whether a link is missing.
func (d *Driver) repair() (missing bool, err error) {
	err = d.change(func() error {
		attachments, _ := claimnetwork.Attachments(d.DataDir) // startPod reports errors
		var errs []error
		for i := range attachments {
			a := &attachments[i]
			begun := time.Now()
			lost, restored, err := d.links().Repair(a)
			errs = append(errs, err)
			d.Metrics.missing.Add(float64(len(lost)))
			if len(lost) > 0 {
				d.Log.Warn("the link of an ENI has disappeared from its pod; the pod gets it back when the agent has attached the ENI again, or a new one", "claim", a.Claim.String(), "pod", a.Pod.String(), "interfaces", lost)
			}
			if len(restored) > 0 {
				d.Metrics.moved(toPod, begun, nil)
				d.Log.Info("moved ENIs into a running pod again", "claim", a.Claim.String(), "pod", a.Pod.String(), "interfaces", restored)
			}
			missing = missing || a.Pod != nil && len(a.Pod.Missing) > 0
		}
		return errors.Join(errs...)
	})
	return missing, err
}
