package kube

import "testing"

func TestRegionOf(t *testing.T) {
	for zone, want := range map[string]string{
		"us-east-1a":              "us-east-1",
		"ap-southeast-2b":         "ap-southeast-2",
		"us-west-2-lax-1a":        "us-west-2",
		"us-east-1-wl1-bos-wlz-1": "us-east-1",
		"us-gov-west-1a":          "us-gov-west-1",
		"cn-northwest-1c":         "cn-northwest-1",
		"us-isob-east-1a":         "us-isob-east-1",
		"eusc-de-east-1a":         "eusc-de-east-1",
		"us-east-1":               "us-east-1",
		"us-east-12f":             "us-east-12",
		"use1-az1":                "",
		"europe-west1-b":          "",
		"us-east":                 "",
		"us--1a":                  "",
		"1a":                      "",
		"":                        "",
	} {
		if got := RegionOf(zone); got != want {
			t.Errorf("%q: got %q, want %q", zone, got, want)
		}
	}
}

func TestRegionOfNode(t *testing.T) {
	for _, test := range []struct{ providerID, label, want string }{
		{"aws:///us-east-1a/i-0123456789abcdef0", "", "us-east-1"},
		{"aws:///us-west-2-lax-1a/i-0123456789abcdef0", "eu-west-1", "us-west-2"},
		{"aws:///us-east-1a/0b1c/fargate-ip-10-0-0-1.ec2.internal", "", "us-east-1"},
		{"aws:///i-0123456789abcdef0", "eu-west-1", "eu-west-1"},
		{"eks-hybrid:///us-east-1/cluster/mi-1", "us-east-1", ""},
		{"gce://project/us-east1-b/node", "us-east1", ""},
		{"k3s://node", "us-east-1", ""},
		{"", "us-east-1", ""},
	} {
		n := &Node{Spec: NodeSpec{ProviderID: test.providerID}}
		n.Labels = map[string]string{RegionLabel: test.label}
		if got := n.Region(); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}
