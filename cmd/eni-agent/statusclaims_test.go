package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// A claim is shown with its ENI, and with the pod and the link's name there while the pod
// has the link.
func TestStatusOfClaims(t *testing.T) {
	files := agent.ClaimFiles{ClaimsDir: t.TempDir(), DataDir: t.TempDir()}
	claim := func(uid, name string, eni podnetwork.ENI) claimnetwork.Claim {
		return claimnetwork.Claim{UID: uid, Namespace: "tenant-a", Name: name, Node: "node-1", Devices: []claimnetwork.Device{{Name: "fw-0a1b2c3d-" + uid, NodeENI: "fw", ENI: eni}}}
	}
	ready := func(id, address string) podnetwork.ENI {
		return podnetwork.ENI{
			ID: id, Ready: true, MAC: "02:00:00:00:00:01", Link: "ens6", MTU: 9001, Addresses: []netip.Addr{netip.MustParseAddr(address)},
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.16.0/20")}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.16.1")},
		}
	}
	attached, gone := claim("0", "attached", ready("eni-0", "10.0.16.4")), claim("3", "gone", ready("eni-3", "10.0.16.7"))
	for _, c := range []claimnetwork.Claim{attached, claim("1", "waits", ready("eni-1", "10.0.16.5")), claim("2", "fails", podnetwork.ENI{Reason: "Attaching", Message: "waiting for EC2"})} {
		if err := claimnetwork.Write(files.ClaimsDir, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []claimnetwork.Claim{attached, gone} {
		pod := &claimnetwork.Pod{Namespace: "tenant-a", Name: "pod-" + c.Name, UID: "u", Sandbox: "s", NetNS: files.DataDir, Interfaces: []string{"eni0"}}
		if err := claimnetwork.WriteAttachment(files.DataDir, claimnetwork.Attachment{Claim: c, Pod: pod}); err != nil {
			t.Fatal(err)
		}
	}
	claims, err := claimsOn(files)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := show(&out, "table", clusterNode{Claims: claims}, clusterNode{Claims: claims}.print); err != nil {
		t.Fatal(err)
	}
	const want = `NODEENI  DEVICE         ENI    ADDRESSES  CLAIM              POD                    INTERFACE  PROBLEM
fw       fw-0a1b2c3d-0  eni-0  10.0.16.4  tenant-a/attached  tenant-a/pod-attached  eni0       -
fw       fw-0a1b2c3d-1  eni-1  10.0.16.5  tenant-a/waits     -                      ens6       -
fw       fw-0a1b2c3d-2  -      -          tenant-a/fails     -                      -          Attaching: waiting for EC2
fw       fw-0a1b2c3d-3  eni-3  10.0.16.7  tenant-a/gone      tenant-a/pod-gone      eni0       -
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if err := os.WriteFile(filepath.Join(files.ClaimsDir, "x.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if claims, err := claimsOn(files); err == nil || len(claims) != 4 {
		t.Errorf("with a file that is not valid: %d claims, %v", len(claims), err)
	}
}
