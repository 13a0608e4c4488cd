package doctor

import (
	"bytes"
	"compress/gzip"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
)

const (
	gateOn = `---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  featureGates:
    OSManagedNoManageENIs: true
`
	gateOff = `{"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {"featureGates": {"InstanceIdNodeName": true, "OSManagedNoManageENIs": false}}}`
	noGate  = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {}\n"
	message = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"B\"\r\n\r\n--B\r\nContent-Type: text/x-shellscript\r\n\r\n#!/bin/sh\r\n--B\r\nContent-Type: application/node.eks.aws\r\n\r\n" + gateOn + "\r\n--B--\r\n"
)

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// metadataOf makes IMDS that of an instance with this user data.
func metadataOf(t *testing.T, userData string) (*imds.Client, *metadata.Server) {
	t.Helper()
	const vpc, subnet = "vpc-00000000000000001", "subnet-0000000000000000a"
	account, err := cloud.New(cloud.Config{
		VPCs:    []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets: []cloud.Subnet{{ID: subnet, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	instance, err := account.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnet, UserData: userData})
	if err != nil {
		t.Fatal(err)
	}
	service := metadata.New(account, instance.ID)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	client, err := imds.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return client, service
}

func TestGatherNodeadm(t *testing.T) {
	const dropIn, earlier, later = "/etc/eks/nodeadm.d/50-gate.yaml", "/etc/eks/nodeadm.d/10-a.yaml", "/etc/eks/nodeadm.d/90-b.json"
	for _, test := range []struct {
		name, userData string
		files          map[string]string
		present        bool
		on             string // where
	}{
		{"no user data", "", nil, false, ""},
		{"another system's user data", "#cloud-config\nOSManagedNoManageENIs: true\n", nil, false, ""},
		{"a NodeConfig without the gate", noGate, nil, true, ""},
		{"in the user data", gateOn, nil, true, "the user data"},
		{"in a part of a message", message, nil, true, "the user data"},
		{"in gzip", gzipped(message), nil, true, "the user data"},
		{"gzip that is cut off", gzipped(message)[:20], nil, false, ""},
		{"off", gateOff, nil, true, ""},
		{"commented out", noGate + "# OSManagedNoManageENIs: true\n", nil, true, ""},
		{"part of another word", noGate + "NotOSManagedNoManageENIs: true\n", nil, true, ""},
		{"in YAML's other words", noGate + `"OSManagedNoManageENIs" : On`, nil, true, "the user data"},
		{"on a later line of the same text", gateOff + "\n" + gateOn, nil, true, "the user data"},
		{"in a drop-in file", "", map[string]string{dropIn: gateOn}, true, dropIn},
		{"in a file that is no drop-in", "", map[string]string{"/etc/eks/nodeadm.d/50-gate.yaml.bak": gateOn}, false, ""},
		{"off in a drop-in file, which counts last", gateOn, map[string]string{dropIn: gateOff}, true, ""},
		{"on in the last file by name", gateOff, map[string]string{earlier: gateOff, later: gateOn}, true, later},
		{"off in the last file by name", gateOn, map[string]string{earlier: gateOn, later: gateOff}, true, ""},
		{"a drop-in file that does not say", gateOn, map[string]string{dropIn: noGate}, true, "the user data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, _ := metadataOf(t, test.userData)
			n := GatherNodeadm(t.Context(), client, tree(t, test.files))
			if n.Err != nil || n.Present != test.present || n.OSManagedENIs != test.on {
				t.Errorf("%+v, want present %v, on by %q", n, test.present, test.on)
			}
		})
	}
}

// What cannot be read does not hide what the host's files say.
func TestGatherNodeadmWithoutUserData(t *testing.T) {
	client, service := metadataOf(t, gateOn)
	if err := service.Inject(metadata.Fault{Path: "/latest/user-data", Status: 403}); err != nil {
		t.Fatal(err)
	}
	if n := GatherNodeadm(t.Context(), client, t.TempDir()); n.Err == nil || n.Present || n.OSManagedENIs != "" {
		t.Errorf("%+v", n)
	}
	if n := GatherNodeadm(t.Context(), client, tree(t, map[string]string{"/etc/eks/nodeadm.d/a.yaml": gateOn})); n.Err == nil || n.OSManagedENIs == "" {
		t.Errorf("%+v", n)
	}
}

func TestUnpackIsBounded(t *testing.T) {
	if got := len(unpack([]byte(gzipped(string(make([]byte, 2*maxUserData)))))); got != maxUserData {
		t.Errorf("%d bytes, want %d", got, maxUserData)
	}
}

// User data is anything at all.
func FuzzNodeadm(f *testing.F) {
	for _, text := range []string{"", gateOn, gateOff, message, gzipped(message), "\x1f\x8b", noGate + "#OSManagedNoManageENIs: true"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var n Nodeadm
		text := unpack(data)
		n.apply("it", text)
		if n.OSManagedENIs != "" && (!n.Present || !bytes.Contains(text, []byte("OSManagedNoManageENIs"))) {
			t.Errorf("%+v of %q", n, text)
		}
		n.apply("a drop-in file", []byte(gateOff))
		if n.OSManagedENIs != "" {
			t.Errorf("%+v, and the last word was off", n)
		}
	})
}
