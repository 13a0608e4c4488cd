package cni

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPTP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	seen := map[string]bool{}
	for i := range 16 {
		start := time.Now()
		result, err := n.add(fmt.Sprint("pod", i))
		n.must(err)
		t.Log(result.IPs, result.Routes, time.Since(start))
		seen[result.IPs[0].Address.IP.String()] = true
	}
	if len(seen) != 16 {
		t.Errorf("pods got %d addresses of 16: %v", len(seen), seen)
	}
	_, err := n.add("onemore")
	if want := "NodeENI storage has no free address on node n1: 16 of 16 are in use; ask for more with the NodeENI's ipv4.prefixes"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the 17th pod: %v", err)
	}
	n.must(n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod3", "net1")))
	n.must(n.GetStatusNetworkList(t.Context(), n.list("storage")))
	n.must(n.del("pod3"))
	n.must(n.RemoveSandbox("pod4"))
	for _, pod := range []string{"new1", "new2"} {
		result, err := n.add(pod)
		n.must(err)
		t.Log(result.IPs)
	}
	n.must(n.gc("pod0", "pod1"))
	files := n.store()
	slices.Sort(files)
	if want := "10.0.0.16 10.0.0.17 pod0:net1.json pod1:net1.json"; strings.Join(files, " ") != want {
		t.Errorf("after GC there are %s, want %s", files, want)
	}
}
