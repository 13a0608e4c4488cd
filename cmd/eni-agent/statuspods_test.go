package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// The pods come after the ENIs, in the order of their addresses.
func TestStatusOfPods(t *testing.T) {
	dir := t.TempDir()
	store, err := podnetwork.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []podnetwork.Attachment{
		{ContainerID: "c2", Pod: "default/b", Addresses: []netip.Addr{netip.MustParseAddr("10.0.16.30")}},
		{ContainerID: "c1", Pod: "default/\x1b[31ma", Addresses: []netip.Addr{netip.MustParseAddr("10.0.16.4"), netip.MustParseAddr("2001:db8::4")}},
		{ContainerID: "c3", NetNS: filepath.Join(dir, "gone"), Addresses: []netip.Addr{netip.MustParseAddr("10.0.16.31")}},
	} {
		a.Interface, a.Network, a.NodeENI, a.ENI, a.Mode, a.Delegate = "net1", "data", "data", "eni-1", "ptp", []byte(`{"type":"ptp"}`)
		if a.NetNS == "" {
			a.NetNS = dir
		}
		if err := store.Write(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	pods, err := podsOn(dir)
	if err != nil {
		t.Fatal(err)
	}
	var table, json bytes.Buffer
	if err := printState(&table, "table", sampleState(), files.Life{Running: true}, 35*time.Minute, pods); err != nil {
		t.Fatal(err)
	}
	want := sampleTable + `
NODEENI  ENI    ADDRESSES              POD             INTERFACE  MODE
data     eni-1  10.0.16.4,2001:db8::4  default/ [31ma  net1       ptp
data     eni-1  10.0.16.30             default/b       net1       ptp
data     eni-1  10.0.16.31             c3 (gone)       net1       ptp
`
	if table.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &table, want)
	}
	if err := printState(&json, "json", sampleState(), files.Life{Running: true}, 0, pods); err != nil || !strings.Contains(json.String(), `"leaked": true`) {
		t.Errorf("%s, %v", &json, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "attachments", "x.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pods, err := podsOn(dir); err == nil || len(pods) != 3 {
		t.Errorf("with a file that is none: %v, %v", pods, err)
	}
}
