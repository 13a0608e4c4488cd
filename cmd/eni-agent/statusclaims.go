package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// claimNow is the ENI of a device that a ResourceClaim has.
type claimNow struct {
	NodeENI   string   `json:"nodeENI"`
	Device    string   `json:"device"`
	ENI       string   `json:"eni,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Claim     string   `json:"claim"`
	Pod       string   `json:"pod,omitempty"`       // that has the link
	Interface string   `json:"interface,omitempty"` // in the pod, or else on the host
	// Problem says why the ENI is not ready.
	Problem string `json:"problem,omitempty"`
}

// claimsOn are the claims of the files that the agent and eni-dra share, by NodeENI and
// device. The error has the files that cannot be read.
func claimsOn(files agent.ClaimFiles) (all []claimNow, err error) {
	claims, unread := claimnetwork.List(files.ClaimsDir)
	attachments, unreadToo := claimnetwork.Attachments(files.DataDir)
	for _, a := range attachments { // a claim that has gone keeps its ENI until its pod has ended
		if !slices.ContainsFunc(claims, func(c claimnetwork.Claim) bool { return c.UID == a.Claim.UID }) {
			claims = append(claims, a.Claim)
		}
	}
	for _, c := range claims {
		var pod *claimnetwork.Pod
		for _, a := range attachments {
			if a.Claim.UID == c.UID {
				pod = a.InPod()
			}
		}
		for i, d := range c.Devices {
			all = append(all, claimOf(c, d, pod, i))
		}
	}
	slices.SortFunc(all, func(a, b claimNow) int {
		return cmp.Or(cmp.Compare(a.NodeENI, b.NodeENI), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Claim, b.Claim))
	})
	return all, errors.Join(unread, unreadToo)
}

// claimOf is a device of a claim. The pod is nil while the link is on the host.
func claimOf(c claimnetwork.Claim, d claimnetwork.Device, pod *claimnetwork.Pod, i int) claimNow {
	now := claimNow{NodeENI: v1alpha1.Printable(d.NodeENI), Device: v1alpha1.Printable(d.Name), ENI: v1alpha1.Printable(d.ENI.ID), Claim: v1alpha1.Printable(c.String()), Interface: v1alpha1.Printable(d.ENI.Link)}
	for _, a := range d.ENI.Addresses {
		now.Addresses = append(now.Addresses, a.String())
	}
	if !d.ENI.Ready {
		now.Problem = v1alpha1.Printable(cmp.Or(strings.Trim(d.ENI.Reason+": "+d.ENI.Message, ": "), "not ready"))
	}
	if pod != nil {
		now.Pod = v1alpha1.Printable(pod.String())
		if i < len(pod.Interfaces) {
			now.Interface = v1alpha1.Printable(pod.Interfaces[i])
		}
	}
	return now
}

func printClaims(w io.Writer, claims []claimNow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODEENI\tDEVICE\tENI\tADDRESSES\tCLAIM\tPOD\tINTERFACE\tPROBLEM")
	for _, c := range claims {
		fmt.Fprintln(t, strings.Join([]string{c.NodeENI, c.Device, orDash(c.ENI), orDash(strings.Join(c.Addresses, ",")), c.Claim, orDash(c.Pod), orDash(c.Interface), orDash(c.Problem)}, "\t"))
	}
	return t.Flush()
}
