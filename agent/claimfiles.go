package agent

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// claimFilesEvery is how often the agent checks whether pods have lost links. A link that
// disappears from a pod changes nothing that the agent sees in the network of the host.
const claimFilesEvery = 5 * time.Second

// claimFilesKey is the key of writes of the files for eni-dra, among the failures.
var claimFilesKey = retry.Key{Action: "claims"}

// ClaimFiles says where the files are that the agent shares with eni-dra.
type ClaimFiles struct {
	ClaimsDir string // what the agent writes
	DataDir   string // what eni-dra writes
}

// claimFiles writes the files that tell eni-dra which ENIs claims have, and reads those of
// eni-dra, which tell which links are in pods.
type claimFiles struct {
	*shared
	texts map[types.UID]string // the content of the files as they were last written, by claim
	lost  string               // what lostLinks returned at the last check
}

// claimNetworks are the contents of the files: the claims with the ENIs of their devices, as
// they are reported. A claim is left out until all of its devices on this node have ENIs, or a
// pod could start with a part of them.
func claimNetworks(claims []Claim, of offering, vpc []netip.Prefix) (all []claimnetwork.Claim) {
	byUID, incomplete := map[types.UID]*claimnetwork.Claim{}, map[types.UID]bool{}
	for _, c := range slices.SortedFunc(slices.Values(claims), compareClaims) {
		slot, known := placeOf(of.view.desired.onDemand, c.Device)
		i := slices.IndexFunc(of.view.desired.wants, func(w want) bool { return w.Slot == slot && w.claim != nil && w.claim.UID == c.UID })
		parameters, err := claimnetwork.ParseParameters(c.Parameters)
		if !known || i < 0 || err != nil {
			incomplete[c.UID] = true
			continue
		}
		w := of.view.desired.wants[i]
		if byUID[c.UID] == nil {
			byUID[c.UID] = &claimnetwork.Claim{UID: string(c.UID), Namespace: c.Namespace, Name: c.Name, Node: of.view.node}
			for _, pod := range c.Pods {
				byUID[c.UID].Pods = append(byUID[c.UID].Pods, string(pod))
			}
		}
		network := byUID[c.UID]
		network.Devices = append(network.Devices, claimnetwork.Device{Name: c.Device, NodeENI: w.nodeENI, ENI: podENI(w, entryOf(of.entries, w), vpc), Parameters: parameters})
	}
	for uid, network := range byUID {
		if incomplete[uid] {
			continue
		}
		slices.SortFunc(network.Pods, cmp.Compare[string])
		all = append(all, *network)
	}
	slices.SortFunc(all, func(a, b claimnetwork.Claim) int { return cmp.Compare(a.UID, b.UID) })
	return all
}

// restore starts from the files that the agent before this one has written.
func (f *claimFiles) restore() {
	if f.OnDemand == nil {
		return
	}
	claims, err := claimnetwork.List(f.OnDemand.Files.ClaimsDir)
	if err != nil {
		f.Log.Warn("cannot read all files for eni-dra; writing them again", "directory", f.OnDemand.Files.ClaimsDir, "error", err)
	}
	for _, c := range claims {
		f.texts[types.UID(c.UID)] = jsonOf(c)
	}
}

// save writes the files that have changed. If all claims are known, it removes the files of
// other claims.
func (f *claimFiles) save(claims []claimnetwork.Claim, known bool, now time.Time) {
	if f.failures.Blocks(claimFilesKey, now) {
		return
	}
	dir := f.OnDemand.Files.ClaimsDir
	var errs []error
	stays := map[types.UID]bool{}
	for _, c := range claims {
		stays[types.UID(c.UID)] = true
		_, err := os.Lstat(filepath.Join(dir, c.UID+".json"))
		if err == nil && f.texts[types.UID(c.UID)] == jsonOf(c) {
			continue
		}
		if err = claimnetwork.Write(dir, c); err == nil {
			f.texts[types.UID(c.UID)] = jsonOf(c)
		}
		errs = append(errs, err)
	}
	for uid := range f.texts {
		if known && !stays[uid] {
			if err := claimnetwork.Remove(dir, string(uid)); err != nil {
				errs = append(errs, err)
				continue
			}
			delete(f.texts, uid)
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		f.failures.Reset(claimFilesKey)
	} else if _, repeated := f.failures.Failed(claimFilesKey, err, now); !repeated {
		f.Log.Warn("cannot write the files for eni-dra; pods wait for their ENIs; retrying", "error", err)
	}
}

// has says whether the claim's file has this content.
func (f *claimFiles) has(c claimnetwork.Claim) bool { return f.texts[types.UID(c.UID)] == jsonOf(c) }

// holder is a pod that has the link of an ENI in its network namespace.
type holder struct {
	pod   string // namespace and name; empty if none has the link
	link  string // the link's name in the pod
	claim types.UID
}

// attachments are those of eni-dra, as its files have them now.
func (f *claimFiles) attachments() attachments {
	if f.OnDemand == nil {
		return nil
	}
	all, err := claimnetwork.Attachments(f.OnDemand.Files.DataDir)
	if err != nil {
		f.Log.Warn("cannot read all attachments of claims", "directory", f.OnDemand.Files.DataDir, "error", err)
	}
	return all
}

type attachments []claimnetwork.Attachment

// holder is the pod that has the ENI's link by a claim.
func (all attachments) holder(eniID string) holder {
	for _, a := range all {
		i := slices.IndexFunc(a.Claim.Devices, func(d claimnetwork.Device) bool { return d.ENI.ID == eniID })
		if in := a.InPod(); in != nil && i >= 0 && in.Has(i) {
			return holder{in.String(), in.Interfaces[i], types.UID(a.Claim.UID)}
		}
	}
	return holder{}
}

// lacks returns the pod of a claim that runs without the link of the ENI, which the claim's
// device has now: eni-dra misses the link, or has not yet replaced that of a former ENI.
func (all attachments) lacks(c Claim, eniID string) (pod string) {
	at := slices.IndexFunc(all, func(a claimnetwork.Attachment) bool { return a.Claim.UID == string(c.UID) })
	if at < 0 {
		return ""
	}
	a := all[at]
	in := a.InPod()
	if in == nil {
		return ""
	}
	i := slices.IndexFunc(a.Claim.Devices, func(d claimnetwork.Device) bool { return d.Name == c.Device })
	if i >= 0 && (!in.Has(i) || a.Claim.Devices[i].ENI.ID != eniID) {
		return in.String()
	}
	return ""
}

// checks are the moments to check for lost links.
func (f *claimFiles) checks() (ticks <-chan time.Time, stop func()) {
	if f.OnDemand == nil {
		return nil, func() {}
	}
	ticker := time.NewTicker(claimFilesEvery)
	return ticker.C, ticker.Stop
}

// changed reports whether other links than at the last check are missing in their pods.
func (f *claimFiles) changed() bool {
	before := f.lost
	f.lost = f.lostLinks()
	return f.lost != before
}

// lostLinks names the links that are missing in their pods.
func (f *claimFiles) lostLinks() (all string) {
	attachments, _ := claimnetwork.Attachments(f.OnDemand.Files.DataDir) // the method logs errors
	for _, a := range attachments {
		if in := a.InPod(); in != nil && len(in.Missing) > 0 {
			all += a.Claim.UID + jsonOf(in.Missing)
		}
	}
	return all
}
