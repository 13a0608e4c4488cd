package main

import (
	"strings"
	"testing"
)

func TestDefaultMTU(t *testing.T) {
	for value, want := range map[string]struct {
		mtu int32
		err string
	}{
		"9001":  {mtu: 9001},
		"0":     {},
		"70":    {err: "from 576 to 9216"},
		"-1":    {err: "from 576 to 9216"},
		"jumbo": {err: "a number of bytes"},
	} {
		o, err := parse([]string{"--node-name=node", "--default-mtu=" + value})
		switch {
		case want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)):
			t.Errorf("%s: error %v, want one with %q", value, err, want.err)
		case want.err == "" && (err != nil || o.defaultMTU != want.mtu):
			t.Errorf("%s gives %d, %v", value, o.defaultMTU, err)
		}
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
		"--startup-taint --nodeeni-dir=/d":     {err: "--startup-taint has no meaning"},
		"--node-ready-labels --nodeeni-dir=/d": {err: "--node-ready-labels has no meaning"},
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
