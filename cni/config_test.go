package cni

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func TestConfig(t *testing.T) {
	conf, err := parse([]byte(`{
		"cniVersion": "1.0.0", "name": "net", "type": "eni", "nodeENI": "storage", "capabilities": {"ips": true},
		"routes": [{"dst": "0.0.0.0/0"}], "prevResult": null, "dns": {}, "deviceID": "x",
		"runtimeConfig": {"ips": ["10.0.0.17/24"], "portMappings": []}, "args": {"cni": {"ips": ["2001:db8::1"], "labels": []}},
		"cni.dev/valid-attachments": null
	}`))
	if err == nil {
		err = conf.validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	if conf.NetworksDir != podnetwork.DefaultNetworksDir || conf.DataDir != podnetwork.DefaultDataDir {
		t.Errorf("the directories are %s and %s", conf.NetworksDir, conf.DataDir)
	}
	if len(conf.PrevResult) > 0 {
		t.Errorf("null is taken for a previous result: %s", conf.PrevResult)
	}
	wanted, err := conf.requested("")
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.17"), netip.MustParseAddr("2001:db8::1")}; err != nil || !slices.Equal(wanted, want) {
		t.Errorf("requested are %v, %v; want %v", wanted, err, want)
	}
}

func TestConfigIsRefused(t *testing.T) {
	for fields, want := range map[string]string{
		``:                                  `nodeENI is missing`,
		`"nodeENI": "../../etc/passwd"`:     `nodeENI: "../../etc/passwd" is not a valid name`,
		`"nodeENI": "s", "mode": "macvlan"`: `mode: "macvlan" is not valid; it must be ipvlan, ptp, host-device, or claim`,
		`"nodeENI": "s", "ipam": {}`:        `unknown field ipam; the plugin eni supports nodeENI, mode, mtu, routes, routeVPC, networksDir, dataDir, claimsDir, claimsDataDir`,
		`"nodeENI": "s", "routeVpc": true`:  `unknown field routeVpc`,
		`"nodeENI": "s", "mtu": -1`:         `mtu: -1 is too small; it must be 576 bytes or more`,
		`"nodeENI": "s", "mtu": 100`:        `mtu: 100 is too small`,
		`"nodeENI": "s", "mtu": 1500, "mode": "host-device"`:            `mtu: not supported with mode host-device`,
		`"nodeENI": "s", "mtu": 1500, "mode": "claim"`:                  `mtu: not supported with mode claim`,
		`"nodeENI": "S", "mode": "claim"`:                               `nodeENI: "S" is not a valid name`,
		`"mode": "claim", "runtimeConfig": {"ips": ["10.0.0.3"]}`:       `ips: not supported with mode claim`,
		`"nodeENI": "s", "routes": [{"gw": "10.0.0.1"}]`:                `routes[0]: dst is missing`,
		`"nodeENI": "s", "routes": [null]`:                              `routes[0]: dst is missing`,
		`"nodeENI": "s", "runtimeConfig": {"mac": "02:00:00:00:00:09"}`: `mac: not supported`,
		`"nodeENI": "s", "args": {"cni": {"mac": "02:00:00:00:00:09"}}`: `mac: not supported`,
		`"nodeENI": 7`: `cannot unmarshal number`,
		`"nodeENI": "s", "routes": [{"dst": "x"}]`:                           `invalid CIDR address: x`,
		`"nodeENI": "s", "runtimeConfig": {"ips": ["10.0.0.300"]}`:           `ips: "10.0.0.300" is not a valid IP address`,
		`"nodeENI": "s", "runtimeConfig": {"ips": ["10.0.0.3", "10.0.0.4"]}`: `ips: 10.0.0.4 is the second address of its family`,
		`"nodeENI": "s", "runtimeConfig": {"ips": ["fe80::1%eth0"]}`:         `is not a valid IP address`,
	} {
		conf, err := parse([]byte(strings.ReplaceAll(`{"name": "net", `+fields+`}`, ", }", "}")))
		if err == nil {
			err = conf.validate()
		}
		if err == nil {
			_, err = conf.requested("")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", fields, err, want)
		}
	}
}

func TestPodOf(t *testing.T) {
	for args, want := range map[string][2]string{
		"": {"", ""},
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=7": {"default/web-0", ""},
		"K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.0.0.9":                   {"default/web-0", "10.0.0.9"},
		"A=B=C;K8S_POD_NAMESPACE=d;;K8S_POD_NAME=w":                                  {"d/w", ""},
	} {
		if pod, ip := podOf(args); pod != want[0] || ip != want[1] {
			t.Errorf("%s: %q, %q; want %q", args, pod, ip, want)
		}
	}
}

// FuzzConfig: whatever a configuration says, there is an answer.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"name": "net", "nodeENI": "storage", "mode": "ptp", "routes": [{"dst": "0.0.0.0/0", "gw": "1.1.1.1"}], "routeVPC": true}`), "K8S_POD_NAME=a")
	f.Add([]byte(`{"nodeENI": "storage", "runtimeConfig": {"ips": ["10.0.0.17/24"]}, "mtu": 1500}`), "IP=10.0.0.18")
	f.Add([]byte(`null`), "=")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		conf, err := parse(stdin)
		if err != nil || conf.validate() != nil {
			return
		}
		_, ip := podOf(args)
		wanted, err := conf.requested(ip)
		if err != nil {
			return
		}
		e := eniOf("10.0.0.16/28", "2001:db8:0:1:5::/80")
		offers, refusals := offersOf(conf, podnetwork.Network{ENIs: []podnetwork.ENI{e}}, podsWith(nil), wanted)
		if len(offers)+len(refusals) != 1 {
			t.Fatalf("%d offers, refusals %q", len(offers), refusals)
		}
		_, _ = conf.delegate(e, "eth1", []netip.Addr{e.Ranges[0].Addr(), e.Ranges[1].Addr()})
	})
}
