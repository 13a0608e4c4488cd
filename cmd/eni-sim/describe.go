package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// describe prints what there is and how to use it.
func describe(w io.Writer, s *sim.Simulator) error {
	t := s.Topology()
	var text strings.Builder
	fmt.Fprintf(&text, "Account %s, Region %s, VPC %s (%s).\n\n", t.AccountID, t.Region, ranges(t.VPC.CIDR, t.VPC.IPv6CIDR), t.VPC.ID)
	tables := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tables, "SUBNET\tNAME\tZONE\tRANGE")
	for _, subnet := range t.Subnets {
		fmt.Fprintf(tables, "%s\t%s\t%s\t%s\n", subnet.ID, subnet.Name, subnet.Zone, ranges(subnet.CIDR, subnet.IPv6CIDR))
	}
	fmt.Fprintln(tables, "\nSECURITY GROUP\tNAME")
	for _, group := range t.SecurityGroups {
		fmt.Fprintf(tables, "%s\t%s\n", group.ID, group.Name)
	}
	nodes := s.Nodes()
	fmt.Fprintln(tables, "\nNODE\tINSTANCE\tTYPE\tZONE\tADDRESS"+imdsColumn(nodes, "IMDS ON THIS MACHINE"))
	for _, n := range nodes {
		fmt.Fprintf(tables, "%s\t%s\t%s\t%s\t%s%s\n", n.Name, n.ID, n.Type, n.Zone, n.PrivateIP, imdsColumn(nodes, n.IMDSURL))
	}
	if err := tables.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "\nAdmin endpoint: %s\n\nOn this machine:\n", s.AdminURL())
	fmt.Fprintf(&text, "  export AWS_ENDPOINT_URL_EC2=%s\n  export AWS_REGION=%s AWS_DEFAULT_REGION=%[2]s\n", s.EC2URL(), t.Region)
	fmt.Fprint(&text, "  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated\n")
	if s.Network() == nil {
		fmt.Fprint(&text, "  export AWS_EC2_METADATA_SERVICE_ENDPOINT=  # as listed, to be that node\n")
	} else {
		fmt.Fprintf(&text, "\nOn a node, as in \"%s exec NODE -- sh\", IMDS gives identity and credentials, and\n", name)
		for _, service := range s.Services() {
			fmt.Fprintf(&text, "  %s is at %s\n", service.Name, service.Address)
		}
	}
	fmt.Fprint(&text, "\nCtrl-C ends it.\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// ranges are those of the two that there are.
func ranges(cidrs ...netip.Prefix) string {
	var texts []string
	for _, cidr := range cidrs {
		if cidr.IsValid() {
			texts = append(texts, cidr.String())
		}
	}
	return strings.Join(texts, " ")
}

// imdsColumn is empty where no metadata service is offered on this machine.
func imdsColumn(nodes []sim.Node, value string) string {
	if len(nodes) == 0 || nodes[0].IMDSURL == "" {
		return ""
	}
	return "\t" + value
}
