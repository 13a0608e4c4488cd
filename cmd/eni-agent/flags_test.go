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
