package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// podNow is a pod's interface that the CNI plugin eni has made.
type podNow struct {
	NodeENI   string       `json:"nodeENI"`
	ENI       string       `json:"eni"`
	Addresses []netip.Addr `json:"addresses"`
	Pod       string       `json:"pod,omitempty"`
	Container string       `json:"containerID"`
	Interface string       `json:"interface"`
	Mode      string       `json:"mode"`
	// Leaked says that the pod is gone, and that its addresses are still to be taken back.
	Leaked bool `json:"leaked,omitempty"`
}

// podsOn are the pods that have an interface by an ENI, in the order of their addresses. An
// error tells of those that cannot be read.
func podsOn(dataDir string) (pods []podNow, err error) {
	attachments, err := podnetwork.Attachments(dataDir)
	for _, a := range attachments {
		pods = append(pods, podNow{
			NodeENI: v1alpha1.Printable(a.NodeENI), ENI: v1alpha1.Printable(a.ENI), Addresses: a.Addresses, Pod: v1alpha1.Printable(a.Pod),
			Container: v1alpha1.Printable(a.ContainerID), Interface: v1alpha1.Printable(a.Interface), Mode: v1alpha1.Printable(a.Mode), Leaked: a.Leaked(),
		})
	}
	slices.SortFunc(pods, func(a, b podNow) int {
		return cmp.Or(cmp.Compare(a.NodeENI, b.NodeENI), cmp.Compare(a.ENI, b.ENI), slices.CompareFunc(a.Addresses, b.Addresses, netip.Addr.Compare), cmp.Compare(a.Container, b.Container))
	})
	return pods, err
}

func printPods(w io.Writer, pods []podNow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODEENI\tENI\tADDRESSES\tPOD\tINTERFACE\tMODE")
	for _, p := range pods {
		var addresses []string
		for _, a := range p.Addresses {
			addresses = append(addresses, a.String())
		}
		pod := cmp.Or(p.Pod, p.Container)
		if p.Leaked {
			pod += " (gone)"
		}
		fmt.Fprintln(t, strings.Join([]string{p.NodeENI, orDash(p.ENI), orDash(strings.Join(addresses, ",")), pod, p.Interface, p.Mode}, "\t"))
	}
	return t.Flush()
}
