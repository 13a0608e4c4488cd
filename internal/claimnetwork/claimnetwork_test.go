package claimnetwork

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func claim(uid string) Claim {
	return Claim{
		UID: uid, Namespace: "default", Name: "firewall", Node: "n1", Pods: []string{"p1"},
		Devices: []Device{{
			Name: "appliance-0", NodeENI: "appliance",
			ENI: podnetwork.ENI{
				ID: "eni-1", Ready: true, MAC: "02:00:00:00:00:01", Link: "ens6", MTU: 9001,
				Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")},
				Subnets:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
				Gateways:  []netip.Addr{netip.MustParseAddr("10.0.0.1")},
			},
			Parameters: Parameters{InterfaceName: "inside", RouteVPC: true, Routes: []Route{{Dst: netip.MustParsePrefix("192.0.2.0/24")}}},
		}},
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "claims")
	if all, err := List(dir); err != nil || len(all) > 0 {
		t.Errorf("before the directory exists: %v, %v", all, err)
	}
	if _, err := Read(dir, "c1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before the file exists: %v", err)
	}
	c := claim("c1")
	if err := Write(dir, c); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir, "c1"); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, c)
	}
	content, err := os.ReadFile(filepath.Join(dir, "c1.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "c2.json"), content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if all, err := List(dir); len(all) != 1 || err == nil || !strings.Contains(err.Error(), "c2.json belongs to another claim, c1") {
		t.Errorf("all are %v, %v", all, err)
	}
	for range 2 {
		if err := Remove(dir, "c1"); err != nil {
			t.Error(err)
		}
	}
	for _, uid := range []string{"../x", "", ".x"} {
		if err := Remove(dir, uid); err == nil {
			t.Errorf("%q is taken for a UID", uid)
		}
	}
}

func TestClaimIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Claim){
		`uid: "../x" is not a valid UID`:                          func(c *Claim) { c.UID = "../x" },
		`namespace or name is missing`:                            func(c *Claim) { c.Name = "" },
		`node is missing`:                                         func(c *Claim) { c.Node = "" },
		`devices is empty`:                                        func(c *Claim) { c.Devices = nil },
		`pods has an empty entry`:                                 func(c *Claim) { c.Pods = []string{""} },
		`devices[0] (): name or nodeENI is missing`:               func(c *Claim) { c.Devices[0].Name = "" },
		`id or addresses of the ENI are missing`:                  func(c *Claim) { c.Devices[0].ENI.Addresses = nil },
		`addresses: no gateway for 10.0.0.4`:                      func(c *Claim) { c.Devices[0].ENI.Gateways = nil },
		`parameters: interfaceName: each pod already has an inte`: func(c *Claim) { c.Devices[0].Parameters.InterfaceName = "eth0" },
	} {
		c := claim("c1")
		change(&c)
		if err := Write(t.TempDir(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c := claim("c1")
	c.Devices[0].ENI = podnetwork.ENI{Reason: "Attaching"}
	if err := Write(t.TempDir(), c); err != nil || c.Unready() == nil {
		t.Errorf("while the ENI is not Ready: %v, %v", err, c.Unready())
	}
}

func TestParseParameters(t *testing.T) {
	for text, want := range map[string]string{
		``:   `{}`,
		`{}`: `{}`,
		`{"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "Parameters", "routeVPC": true}`:            `{"routeVPC":true}`,
		`{"interfaceName": "a", "routeVPC": true} | {"interfaceName": "b"}`:                                `{"interfaceName":"b","routeVPC":true}`,
		`{"routes": [{"dst": "0.0.0.0/0"}]} | {"routes": [{"dst": "2001:db8::/32", "gw": "2001:db8::1"}]}`: `{"routes":[{"dst":"2001:db8::/32","gw":"2001:db8::1"}]}`,
		`{"interfaceName": 1}`:                  "interfaceName cannot be of the type number; supported are interfaceName (a string)",
		`{"interfacename": "a"}`:                `unknown field "interfacename"; supported are interfaceName (a string)`,
		`{"routes": [{"DST": "10.0.0.0/8"}]}`:   `unknown field "DST"`,
		`{"mtu": 1}`:                            `unknown field "mtu"; supported are interfaceName (a string), routeVPC (true or false), and routes, each with dst and optionally gw`,
		`{"routeVPC": "yes"}`:                   "aws: routeVPC cannot be of the type string",
		`[]`:                                    "the object cannot be of the type array",
		`{} {}`:                                 "more than one object",
		`{"interfaceName": "sixteen-letters-"}`: `interfaceName: "sixteen-letters-" is longer than 15 characters`,
		`{"interfaceName": "a/b"}`:              "is not a valid name of a network interface",
		`{"interfaceName": ".."}`:               "is not a valid name of a network interface",
		`{"interfaceName": "a b"}`:              "is not a valid name of a network interface",
		`{"interfaceName": "lo"}`:               "each pod already has an interface lo",
		`{"routes": [{"dst": "10.0.0.1/8"}]}`:   `routes[0]: dst "10.0.0.1/8" is not a valid CIDR`,
		`{"routes": [{}]}`:                      "is not a valid CIDR",
		`{"routes": [{"dst": "10.0.0.0/8", "gw": "fe80::1"}]}`:                 "of different address families",
		`{"routes": [{"dst": "fd00::/8", "gw": "fe80::1%eth0"}]}`:              "is not a valid address",
		`{"routes": [{"dst": "10.0.0.0/8", "gw": "10.0.0.1", "metric": "1"}]}`: "unknown field",
	} {
		var configurations []json.RawMessage
		for part := range strings.SplitSeq(text, " | ") {
			configurations = append(configurations, json.RawMessage(part))
		}
		p, err := ParseParameters(configurations)
		got, _ := json.Marshal(p)
		if strings.HasPrefix(want, "{") && (err != nil || string(got) != want) || !strings.HasPrefix(want, "{") && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestAttachments(t *testing.T) {
	dir := t.TempDir()
	netns := filepath.Join(dir, "netns")
	if err := os.WriteFile(netns, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := Attachment{Claim: claim("c1"), Created: time.Now().UTC().Round(0), Boot: podnetwork.BootID()}
	if a.InPod() != nil || !a.For("p1") || a.For("p2") {
		t.Errorf("a prepared claim is in %v", a.InPod())
	}
	a.Pod = &Pod{Namespace: "default", Name: "firewall-0", UID: "p1", Sandbox: "s1", NetNS: netns, Interfaces: []string{"inside"}}
	if err := WriteAttachment(dir, a); err != nil {
		t.Fatal(err)
	}
	if all, err := Attachments(dir); err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], a) || all[0].InPod() == nil {
		t.Errorf("read %+v, %v; wrote %+v", all, err, a)
	}
	gone, before := a, a
	gone.Pod = &Pod{NetNS: netns + "2"}
	before.Boot = "another"
	if gone.InPod() != nil || before.InPod() != nil {
		t.Error("links are in a namespace that is gone, or of another boot")
	}
	for want, change := range map[string]func(*Attachment){
		"claim: node is missing":         func(a *Attachment) { a.Claim.Node = "" },
		"pod: uid or sandbox is missing": func(a *Attachment) { a.Pod = &Pod{} },
		"is not an absolute path":        func(a *Attachment) { a.Pod = &Pod{UID: "p", Sandbox: "s", NetNS: "x"} },
		"pod: 0 interfaces for 1 devices": func(a *Attachment) {
			a.Pod = &Pod{UID: "p", Sandbox: "s", NetNS: "/x"}
		},
	} {
		broken := a
		change(&broken)
		if err := WriteAttachment(dir, broken); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := RemoveAttachment(dir, "c1"); err != nil {
		t.Error(err)
	}
	if _, err := ReadAttachment(dir, "c1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after it is removed: %v", err)
	}
}

// FuzzFiles: a file of whatever content is an error, or it has what its users count on.
func FuzzFiles(f *testing.F) {
	for _, value := range []any{claim("c1"), Attachment{Claim: claim("c1"), Pod: &Pod{UID: "p", Sandbox: "s", NetNS: "/x", Interfaces: []string{"a"}}}} {
		content, err := json.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if c, err := nodefile.Decode[Claim](content); err == nil && c.Unready() == nil {
			for _, d := range c.Devices {
				for _, address := range d.ENI.Addresses {
					if !d.ENI.Subnet(address).IsValid() || !d.ENI.Gateway(address).IsValid() {
						t.Errorf("address %s has no subnet, or no gateway", address)
					}
				}
			}
		}
		if a, err := nodefile.Decode[Attachment](content); err == nil {
			_ = a.InPod()
		}
	})
}
