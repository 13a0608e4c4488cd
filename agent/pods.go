package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// podsEvery is how often the files are looked at though nothing happens: others may have
// deleted them.
const podsEvery = time.Minute

// The places of the files, and of the question for the VPC's CIDRs, among the failures.
var (
	podFilesKey = retry.Key{Action: "pods"}
	vpcKey      = retry.Key{Action: "IMDS", Of: "vpc"}
)

// pods tells the CNI plugin eni what this node's NodeENIs offer to pods, and learns from
// the plugin's files which pods use it. Without --pods it does nothing.
type pods struct {
	*shared
	networks []podnetwork.Network // as the files are to be
	files    map[string]podFile   // as they were written, by NodeENI
	vpc      []netip.Prefix
	vpcDue   time.Time // when IMDS is asked for the VPC's CIDRs

	leaked     map[podInterface]time.Time // what pods have left behind, and since when
	reclaimDue time.Time
}

// podFile is a file as it was written.
type podFile struct {
	text string
	info fs.FileInfo
}

// restore takes in what an agent before this one has told. It stays until it is known
// that something else is wanted.
func (p *pods) restore() {
	if p.Pods == nil {
		return
	}
	networks, err := podnetwork.List(p.Pods.NetworksDir)
	if err != nil {
		p.Log.Warn("cannot read all network files for the CNI plugin; writing them again", "directory", p.Pods.NetworksDir, "error", err)
	}
	p.networks = networks
	p.PodCounters.show(networks)
	for _, n := range networks {
		p.note(n)
		for _, e := range n.ENIs {
			p.vpc = e.VPC
		}
	}
}

// checks is when the files are looked at though nothing happens; never without --pods.
func (p *pods) checks() (ticks <-chan time.Time, stop func()) {
	if p.Pods == nil {
		return nil, func() {}
	}
	ticker := time.NewTicker(podsEvery)
	return ticker.C, ticker.Stop
}

// withdraw removes what NodeENIs offered that no longer select this node, or are no longer
// for pods. It comes before their links are taken down.
func (p *pods) withdraw(d *desired, now time.Time) {
	if p.Pods == nil {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(p.networks), func(n podnetwork.Network) bool {
		uid := types.UID(n.NodeENIUID)
		return d.pods[uid] == "" && !d.mayWant(uid)
	})
	if len(stay) < len(p.networks) {
		p.offer(stay, now)
	}
}

// publish tells what NodeENIs offer, by what is reported of their ENIs. Before EC2 has
// shown them, what the agent before this one has told stays.
func (p *pods) publish(ctx context.Context, d *desired, entries []v1alpha1.ENIState, synced bool, now time.Time) {
	if p.Pods == nil || !synced || len(d.pods) == 0 || !p.knowVPC(ctx, now) {
		return
	}
	networks := podNetworks(d, entries, p.Node, p.vpc)
	for _, n := range p.networks {
		if !slices.ContainsFunc(networks, func(o podnetwork.Network) bool { return o.NodeENI == n.NodeENI }) {
			networks = append(networks, n) // withdraw tells whether it goes
		}
	}
	p.offer(networks, now)
}

// knowVPC asks IMDS for the VPC's CIDRs now and then, because others may add some. It says
// whether IMDS has been asked: one that fails keeps no pod from its network.
func (p *pods) knowVPC(ctx context.Context, now time.Time) (asked bool) {
	asked = !p.vpcDue.IsZero() || p.failures.Err(vpcKey) != nil
	if now.Before(p.vpcDue) || p.calls.busy(vpcKey) || p.failures.Blocks(vpcKey, now) {
		return asked
	}
	p.calls.start(ctx, pollTimeout, vpcKey, call{}, func(ctx context.Context) func() {
		vpc, err := p.Metadata.VPC(ctx)
		return func() {
			if err == nil {
				p.failures.Reset(vpcKey)
				p.vpc, p.vpcDue = vpc, time.Now().Add(p.VerifyEvery)
			} else if _, repeated := p.failures.Failed(vpcKey, err, time.Now()); !repeated {
				p.Log.Warn("IMDS does not provide the CIDRs of the VPC, which the CNI plugin needs for routeVPC", "error", err)
			}
		}
	})
	return asked
}

// offer makes the files say that.
func (p *pods) offer(networks []podnetwork.Network, now time.Time) {
	before := p.networks
	p.networks = networks
	p.PodCounters.show(networks)
	p.tellWhoLoses(before)
	p.save(now)
}

// save writes the files that are not as they are to be, and removes those that are not to
// be. What fails is tried again after a while.
func (p *pods) save(now time.Time) {
	if p.Pods == nil || p.failures.Blocks(podFilesKey, now) {
		return
	}
	var errs []error
	stays := map[string]bool{}
	for _, n := range p.networks {
		stays[n.NodeENI] = true
		errs = append(errs, p.write(n))
	}
	for name := range p.files {
		if !stays[name] {
			errs = append(errs, p.remove(name))
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		p.failures.Reset(podFilesKey)
		return
	}
	if _, repeated := p.failures.Failed(podFilesKey, err, now); !repeated {
		p.Log.Warn("cannot write the network files for the CNI plugin eni; retrying", "error", err)
		p.Recorder.Event(kube.NodeRef(p.Node), kube.EventWarning, "PodNetworkNotWritten", "cannot write the network files for the CNI plugin eni; retrying: %v", err)
	}
}

// write writes a file, unless it is still there as it was written last.
func (p *pods) write(n podnetwork.Network) error {
	last, written := p.files[n.NodeENI]
	is, err := os.Lstat(p.path(n))
	if written && err == nil && last.text == jsonOf(n) && os.SameFile(last.info, is) && last.info.ModTime().Equal(is.ModTime()) && last.info.Size() == is.Size() {
		return nil
	}
	if err := podnetwork.Write(p.Pods.NetworksDir, n); err != nil {
		// What the file says is not so any more: the addresses may be another node's soon.
		return errors.Join(err, p.remove(n.NodeENI))
	}
	p.note(n)
	return nil
}

// note keeps how a file is that has just been written or read. One that others have
// removed since is written again.
func (p *pods) note(n podnetwork.Network) {
	info, err := os.Lstat(p.path(n))
	if err != nil {
		info = nil
	}
	p.files[n.NodeENI] = podFile{jsonOf(n), info}
}

func (p *pods) path(n podnetwork.Network) string {
	return filepath.Join(p.Pods.NetworksDir, n.NodeENI+".json")
}

func (p *pods) remove(name string) error {
	err := podnetwork.Remove(p.Pods.NetworksDir, name)
	if err == nil {
		delete(p.files, name)
	}
	return err
}

// jsonOf is the text of what a file has.
func jsonOf(content any) string {
	text, err := json.Marshal(content)
	if err != nil {
		panic(err) // a programming error: all of it is text and numbers
	}
	return string(text)
}
