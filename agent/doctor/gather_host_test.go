package doctor

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var primaryMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}

// tree makes a host's file system of paths and contents; "-> target" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	base := map[string]string{
		"/etc/os-release":                   "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n",
		"/proc/1/comm":                      "systemd\n",
		"/sys/class/net/ens5/address":       primaryMAC.String() + "\n",
		"/sys/class/net/ens5/device/driver": "-> ../../../../bus/pci/drivers/ena",
	}
	for _, set := range []map[string]string{base, files} {
		for name, content := range set {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			if target, ok := strings.CutPrefix(content, "-> "); ok {
				err = os.Symlink(target, path)
			} else {
				err = os.WriteFile(path, []byte(content), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// ours is a file of packaging/systemd/optional with the primary's name put in.
func ours(t *testing.T, name, placeholder, value string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../packaging/systemd/optional", name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), placeholder) {
		t.Fatalf("%s has no %q", name, placeholder)
	}
	return strings.Replace(string(data), placeholder, value, 1)
}

func TestGatherHost(t *testing.T) {
	const (
		ec2Network = "[Match]\nDriver=ena ixgbevf vif\n\n[Link]\nMTUBytes=9001\n\n[Network]\nDHCP=yes\n"
		netUtils   = "/usr/lib/udev/rules.d/99-vpc-policy-routes.rules"
		rule       = `SUBSYSTEM=="net", ACTION=="add", ENV{ID_NET_DRIVER}=="ena"`
		hotplug    = "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules"
		cloudTimer = "/etc/systemd/system/timers.target.wants/nm-cloud-setup.timer"
		cloudUnit  = "/usr/lib/systemd/system/nm-cloud-setup.timer"
	)
	networkd := map[string]string{"/proc/300/comm": "systemd-network\n", "/proc/300/cmdline": "/usr/lib/systemd/systemd-networkd\x00"}
	manager := map[string]string{"/proc/400/comm": "NetworkManager\n", "/proc/400/cmdline": "/usr/sbin/NetworkManager\x00--no-daemon\x00"}
	ourNetwork := ours(t, "networkd.network", "Name=NAME-OF-THE-PRIMARY-MISSING", "Name=!ens5")
	ourManager := ours(t, "networkmanager.conf", "match-device=interface-name:NAME-OF-THE-PRIMARY-MISSING",
		"match-device=driver:ena,driver:ixgbevf,driver:vif,except:interface-name:ens5")
	for _, test := range []struct {
		name  string
		files []map[string]string
		want  string // the checks that warn
	}{
		{"nothing", nil, ""},
		{"Amazon Linux 2023", []map[string]string{networkd, {netUtils: rule, "/usr/lib/systemd/network/80-ec2.network": ec2Network}},
			"amazon-ec2-net-utils systemd-networkd"},
		{"EKS on Amazon Linux 2023", []map[string]string{networkd, {netUtils: rule, "/usr/lib/systemd/network/80-ec2.network": ec2Network,
			"/etc/udev/rules.d/99-vpc-policy-routes.rules":                       "",
			"/run/systemd/network/80-ec2.network.d/10-eks_primary_eni_only.conf": "[Match]\nPermanentMACAddress=" + primaryMAC.String() + "\n"}}, ""},
		{"masked by a link", []map[string]string{networkd, {netUtils: rule, "/usr/lib/systemd/network/80-ec2.network": ec2Network,
			"/etc/udev/rules.d/99-vpc-policy-routes.rules": "-> /dev/null", "/etc/systemd/network/80-ec2.network": "-> /dev/null"}}, ""},
		{"our file for networkd", []map[string]string{networkd, {"/usr/lib/systemd/network/80-ec2.network": ec2Network,
			"/etc/systemd/network/10-eni-agent.network": ourNetwork}}, ""},
		{"our file without the primary's name", []map[string]string{networkd, {"/usr/lib/systemd/network/80-ec2.network": ec2Network,
			"/etc/systemd/network/10-eni-agent.network": ours(t, "networkd.network", "[Link]", "[Link]")}}, "systemd-networkd"},
		{"networkd that does not run", []map[string]string{{"/usr/lib/systemd/network/80-ec2.network": ec2Network}}, ""},
		{"Ubuntu with netplan", []map[string]string{networkd, {"/run/systemd/network/10-netplan-ens5.network": "[Match]\nMACAddress=02:00:00:00:00:01\nName=ens5\n\n[Network]\nDHCP=ipv4\n",
			"/usr/lib/systemd/network/80-container-host0.network": "[Match]\nKind=veth\nName=host0\n[Network]\nDHCP=yes\n"}}, ""},
		{"Debian with a file for all", []map[string]string{networkd, {"/etc/systemd/network/99-all.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"}}, "systemd-networkd"},
		{"a file for all but the rest", []map[string]string{networkd, {"/etc/systemd/network/99-all.network": "[Match]\nName=!ens6 ens7\n[Network]\nDHCP=yes\n"}}, ""},
		{"RHEL", []map[string]string{manager, {cloudUnit: "[Timer]\n", cloudTimer: "-> " + cloudUnit}}, "NetworkManager nm-cloud-setup"},
		{"RHEL with nm-cloud-setup masked", []map[string]string{manager, {cloudUnit: "[Timer]\n", cloudTimer: "-> " + cloudUnit,
			"/etc/systemd/system/nm-cloud-setup.timer": "-> /dev/null", "/etc/NetworkManager/conf.d/00-server.conf": "[main]\nno-auto-default=*\n"}}, ""},
		{"RHEL with timer and service", []map[string]string{{cloudUnit: "[Timer]\n", cloudTimer: "-> " + cloudUnit,
			"/etc/systemd/system/nm-cloud-setup.service":                              "[Service]\n",
			"/etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service": "[Service]\n"}}, "nm-cloud-setup nm-cloud-setup"},
		{"Amazon Linux 2", []map[string]string{{"/etc/udev/rules.d/53-ec2-network-interfaces.rules": rule}}, "amazon-ec2-net-utils"},
		{"both rules", []map[string]string{{"/usr/lib/udev/rules.d/53-ec2-network-interfaces.rules": rule, netUtils: rule}}, "amazon-ec2-net-utils amazon-ec2-net-utils"},
		{"Debian's cloud image", []map[string]string{{"/lib/udev/rules.d/75-cloud-ifupdown.rules": rule}}, "cloud-ifupdown"},
		{"Ubuntu 24.04", []map[string]string{networkd, {hotplug: rule}}, "cloud-init"},
		{"Ubuntu 24.04 with our file", []map[string]string{networkd, {hotplug: rule, "/etc/cloud/cloud.cfg.d/99-eni-agent.cfg": ours(t, "cloud-init.cfg", "updates", "updates")}}, ""},
		{"cloud-init, elsewhere", []map[string]string{{hotplug: rule, "/etc/cloud/cloud.cfg": "updates: {network: {when: [boot]}}\n", "/etc/cloud/cloud.cfg.d/90_x.cfg": "updates: {network: {when: [boot, hotplug]}}\n"}}, "cloud-init"},
		{"cloud-init, behind our file", []map[string]string{{hotplug: rule, "/etc/cloud/cloud.cfg.d/99-eni-agent.cfg": ours(t, "cloud-init.cfg", "updates", "updates"),
			"/etc/cloud/cloud.cfg.d/99-x.cfg": "updates: {network: {when: [hotplug]}}\n"}}, "cloud-init"},
		{"cloud-init, switched off", []map[string]string{{hotplug: rule, "/etc/cloud/cloud.cfg.d/99-disable-network-hotplug.cfg": "updates:\n  network:\n    when: []\n"}}, ""},
		{"cloud-init, its rule masked", []map[string]string{{hotplug: "-> /dev/null"}}, ""},
		{"a file for all that comes before ours", []map[string]string{networkd, {"/etc/systemd/network/05-all.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n"}}, "systemd-networkd"},
		{"a file for all that comes before anything", []map[string]string{networkd, {"/etc/systemd/network/00-a.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n"}}, "systemd-networkd"},
		{"a vendor's file that comes before anything", []map[string]string{networkd, {"/usr/lib/systemd/network/00-a.network": "[Match]\nName=en*\n[Network]\nDHCP=yes\n"}}, "systemd-networkd"},
		{"Flatcar", []map[string]string{networkd, {"/etc/os-release": "ID=flatcar\n", "/usr/lib/systemd/network/zz-default.network": "[Match]\nName=*\nKind=!veth\n[Network]\nDHCP=yes\n"}}, "systemd-networkd"},
		{"Talos", []map[string]string{{"/etc/os-release": "NAME=\"Talos\"\nID=talos\n"}}, "Talos"},
		{"nm-cloud-setup that is installed only", []map[string]string{{cloudUnit: "[Timer]\n"}}, ""},
		{"our file for NetworkManager", []map[string]string{manager, {"/etc/NetworkManager/conf.d/50-eni-agent.conf": ourManager}}, ""},
		{"our file without the primary's name, NetworkManager", []map[string]string{manager, {"/etc/NetworkManager/conf.d/50-eni-agent.conf": ours(t, "networkmanager.conf", "managed=0", "managed=0")}}, "NetworkManager"},
		{"unmanaged by name", []map[string]string{manager, {"/etc/NetworkManager/NetworkManager.conf": "[keyfile]\nunmanaged-devices=interface-name:ens[6-9];interface-name:cali*\n"}}, ""},
		{"unmanaged, but others", []map[string]string{manager, {"/etc/NetworkManager/conf.d/calico.conf": "[keyfile]\nunmanaged-devices=interface-name:cali*;interface-name:tunl*\n"}}, "NetworkManager"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := map[string]string{}
			for _, set := range test.files {
				for name, content := range set {
					files[name] = content
				}
			}
			dir := tree(t, files)
			host, _, hidden := GatherHost(dir, primaryMAC)
			if host == nil {
				t.Fatal(hidden)
			}
			var got []string
			for _, r := range Bad(checkHost(Facts{Host: host})) {
				got = append(got, r.Check)
				if r.Check != "Talos" { // its configuration is not in files
					follow(t, dir, r.Action)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("warned of %q, want %q: %+v", got, test.want, host)
			}
			cured, _, _ := GatherHost(dir, primaryMAC)
			for _, r := range Bad(checkHost(Facts{Host: cured})) {
				if r.Check != "Talos" {
					t.Errorf("what to do was done, and it still says: %s: %s", r.Check, r.Message)
				}
			}
		})
	}
}

// Where it is not known what configures links, nothing is said to be well.
func TestUnknownHosts(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"Bottlerocket":                        {"/etc/os-release": "ID=bottlerocket\nPRETTY_NAME=\"Bottlerocket OS 1.2\"\n"},
		"an os-release without ID":            {"/etc/os-release": "\n"},
		"a daemon that is not read":           {"/proc/300/comm": "dhcpcd\n", "/proc/300/cmdline": "dhcpcd\x00"},
		"another daemon on a host that's not": {"/etc/os-release": "ID=sles\n", "/proc/300/comm": "wickedd\n", "/proc/300/cmdline": "wickedd\x00"},
	} {
		host, _, _ := GatherHost(tree(t, files), primaryMAC)
		results := checkHost(Facts{Host: host})
		if len(results) != 1 || results[0].Status != Skipped || name == "Bottlerocket" && !strings.Contains(results[0].Message, "Bottlerocket OS 1.2") {
			t.Errorf("%s: %+v", name, results)
		}
	}
}

var (
	masking    = regexp.MustCompile(`ln -sf /dev/null (\S+)`)
	installing = regexp.MustCompile(`install packaging/systemd/optional/(\S+) .* as ([^\s,:]+)[,:]`)
	switching  = regexp.MustCompile(`systemctl (mask|disable) --now (\S+)`)
	takingOut  = regexp.MustCompile(`remove hotplug from updates.network.when in (\S+)`)
	narrowing  = regexp.MustCompile(`section of (\S+) name the primary`)
)

// follow does to a host's files what an action says.
func follow(t *testing.T, dir, action string) {
	t.Helper()
	put := func(path, content string) {
		path = filepath.Join(dir, path)
		_ = os.Remove(path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok && err == nil {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if m := masking.FindStringSubmatch(action); m != nil {
		put(m[1], "-> /dev/null")
	} else if m := installing.FindStringSubmatch(action); m != nil && m[1] == "networkd.network" {
		put(m[2], ours(t, m[1], "Name=NAME-OF-THE-PRIMARY-MISSING", "Name=!ens5"))
	} else if m != nil && m[1] == "cloud-init.cfg" {
		put(m[2], ours(t, m[1], "updates", "updates"))
	} else if m := takingOut.FindStringSubmatch(action); m != nil {
		put(m[1], "updates: {network: {when: [boot-new-instance]}}\n")
	} else if m := installing.FindStringSubmatch(action); m != nil {
		put(m[2], ours(t, m[1], "match-device=interface-name:NAME-OF-THE-PRIMARY-MISSING",
			"match-device=driver:ena,driver:ixgbevf,driver:vif,except:interface-name:ens5"))
	} else if m := switching.FindStringSubmatch(action); m != nil && m[1] == "mask" {
		put("/etc/systemd/system/"+m[2], "-> /dev/null")
	} else if m != nil {
		links, _ := filepath.Glob(filepath.Join(dir, "/etc/systemd/system/*.wants", m[2]))
		for _, link := range links {
			_ = os.Remove(link)
		}
	} else if m := narrowing.FindStringSubmatch(action); m != nil {
		put(m[1], "[Match]\nName=ens5\n[Network]\nDHCP=yes\n")
	} else {
		t.Errorf("there is nothing to be done in %q", action)
	}
}

func TestHostIsHidden(t *testing.T) {
	if host, _, hidden := GatherHost(t.TempDir(), nil); host != nil || !strings.Contains(hidden, "--host-root") {
		t.Errorf("%v, %q", host, hidden)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	if host, _, hidden := GatherHost("/", nil); host != nil || hidden == "" {
		t.Error("a container's file system is taken for the host's")
	}
}

func TestKubeletProcess(t *testing.T) {
	dir := tree(t, map[string]string{"/proc/500/comm": "kubelet\n", "/proc/500/cmdline": "/usr/bin/kubelet\x00--node-ip=10.0.0.4\x00"})
	_, kubelet, _ := GatherHost(dir, primaryMAC)
	if kubelet == nil || len(kubelet.Args) != 2 || kubelet.Args[1] != "--node-ip=10.0.0.4" {
		t.Errorf("%+v", kubelet)
	}
}

// As Linux 6.18 shows them.
func TestAdvertised(t *testing.T) {
	const (
		zero       = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
		linkLocal  = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001       e0\n"
		fromRouter = zero + "fe80000000000000b8f7e5fffe344555 00000400 00000001 00000000 00450003       e0\n"
		byHand     = zero + "fe800000000000000000000000000009 000001f4 00000001 00000000 00000003       e1\n"
		refused    = zero + "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	)
	for routes, want := range map[string]string{
		"":                              "",
		"nonsense\n":                    "",
		linkLocal + byHand + refused:    "",
		linkLocal + fromRouter + byHand: "e0",
	} {
		if got := strings.Join(advertised(routes), " "); got != want {
			t.Errorf("%q of\n%s, want %q", got, routes, want)
		}
	}
}

func TestNextLinks(t *testing.T) {
	dir := root(tree(t, map[string]string{"/sys/class/net/ens6/address": "02:00:00:00:00:02"}))
	for primary, want := range map[string]string{"ens5": "ens7 ens8", "eth0": "eth1 eth2", "enp0s6": "enp0s7 enp0s8", "enX0": "enX1 enX2", "lan": "lan"} {
		if got := strings.Join(dir.nextLinks(primary), " "); got != want {
			t.Errorf("after %s comes %s, want %s", primary, got, want)
		}
	}
}

func FuzzParseSections(f *testing.F) {
	f.Add("[Match]\nName=a\n# b\n[Link]\nUnmanaged=yes")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, s := range parseSections(text) {
			matchesDevice(s, device{"ens6", "ena"})
			matchesSpecs(s.last("match-device"), device{"ens6", "ena"})
		}
	})
}
