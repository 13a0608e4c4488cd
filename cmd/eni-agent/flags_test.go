package main

import (
	"maps"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	t.Setenv("KUBECONFIG", "/etc/kubeconfig") // of the environment, which says nothing about the mode
	for _, test := range []struct {
		args string
		err  string // words of it
	}{
		{"--node-name n", ""},
		{"", "the node name is unknown"},
		{"--node-name n --release-delay 0s", ""},
		{"--node-name n --release-delay 10s", ""},
		{"--node-name n --release-delay 11s", "--release-delay=11s: must be from 0s to 10s"},
		{"--node-name n --release-delay -1s", "--release-delay=-1s"},
		{"--node-name n argument", `unexpected argument "argument"`},
		{"--nodeeni-dir d --node-labels a=b", ""},
		{"--nodeeni-dir d --node-labels-from-tags", ""},
		{"--nodeeni-dir d --node-labels a=b --node-labels-from-tags --state-file s --cluster-name c --node-name n", ""},
		{"--nodeeni-dir d", "no NodeENI can select it; set --node-labels or --node-labels-from-tags"},
		{"--nodeeni-dir= --node-name n", "--nodeeni-dir is empty"},
		{"--nodeeni-dir d --node-labels a=b --kubeconfig k", "--kubeconfig cannot be used with --nodeeni-dir"},
		{"--nodeeni-dir d --node-labels a=b --state-file=", "--state-file is empty"},
		{"--node-name n --node-labels a=b --state-file s", "--node-labels, --state-file is only for a standalone agent; set --nodeeni-dir as well"},
		{"--nodeeni-dir d --node-labels a", "node-labels"},
		{"--node-name n --cluster-name " + strings.Repeat("c", 257), "--cluster-name: it has 257 characters"},
		{"--node-name n --cluster-name c\x07", "--cluster-name: "},
		{"--nodeeni-dir d --node-labels a=b,-=c", "node-labels"},
		{"--nodeeni-dir d --node-labels a=b;c", "node-labels"},
	} {
		t.Run(test.args, func(t *testing.T) {
			o, err := parse(strings.Fields(test.args))
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err == "" && o.standsAlone() != strings.Contains(test.args, "nodeeni-dir"):
				t.Errorf("it stands alone: %v", o.standsAlone())
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want one with %q", err, test.err)
			}
		})
	}
}

func TestNodeLabels(t *testing.T) {
	o, err := parse([]string{"--nodeeni-dir", "d", "--node-labels", "ng=multi-eni, example.com/zone=a,empty="})
	want := map[string]string{"ng": "multi-eni", "example.com/zone": "a", "empty": ""}
	if err != nil || !maps.Equal(o.labels, want) {
		t.Errorf("labels %v, %v; want %v", o.labels, err, want)
	}
}

// What the Node shows is off unless asked for, and there is no Node without
// Kubernetes.
func TestNodeReadinessFlags(t *testing.T) {
	for args, want := range map[string]struct {
		taint, labels bool
		err           string
	}{
		"":                                     {},
		"--startup-taint":                      {taint: true},
		"--node-ready-labels":                  {labels: true},
		"--startup-taint --node-ready-labels":  {taint: true, labels: true},
		"--startup-taint --nodeeni-dir=/d":     {err: "--startup-taint cannot be used with --nodeeni-dir"},
		"--node-ready-labels --nodeeni-dir=/d": {err: "--node-ready-labels cannot be used with --nodeeni-dir"},
	} {
		o, err := parse(append([]string{"--node-name=node"}, strings.Fields(args)...))
		switch {
		case want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)):
			t.Errorf("%s: error %v, want one with %q", args, err, want.err)
		case want.err == "" && (err != nil || o.startupTaint != want.taint || o.readyLabels != want.labels):
			t.Errorf("%s gives %v, %v, %v", args, o.startupTaint, o.readyLabels, err)
		}
	}
}

// What is counted for ENIs is shown, with and without Kubernetes, unless that is turned off.
func TestENICounters(t *testing.T) {
	for args, want := range map[string]bool{
		"--node-name=node":                                        true,
		"--node-name=node --eni-counters=false":                   false,
		"--nodeeni-dir=/d --node-labels=a=b":                      true,
		"--nodeeni-dir=/d --node-labels=a=b --eni-counters=false": false,
	} {
		if o, err := parse(strings.Fields(args)); err != nil || o.eniCounters != want {
			t.Errorf("%s: %v, %v; want %v", args, o.eniCounters, err, want)
		}
	}
}
