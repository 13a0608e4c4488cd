package podnetwork

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
)

func network(ranges ...string) Network {
	e := ENI{
		ID: "eni-1", Ready: true, MAC: "02:00:00:00:00:01", Link: "eth1", MTU: 9001,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")},
		Subnets:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80:ec2::1")},
	}
	for _, r := range ranges {
		e.Ranges = append(e.Ranges, netip.MustParsePrefix(r))
	}
	return Network{NodeENI: "storage", NodeENIUID: "uid", Node: "n1", ENIs: []ENI{e}}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pods")
	if all, err := List(dir); err != nil || len(all) > 0 {
		t.Errorf("before the directory is there: %v, %v", all, err)
	}
	_, err := Read(dir, "storage")
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "NodeENI storage has no network file on this node: ") {
		t.Errorf("before the file is there: %v", err)
	}
	n := network("10.0.0.16/28")
	if err := Write(dir, n); err != nil {
		t.Fatal(err)
	}
	other := Network{NodeENI: "other", Reason: "NoSubnet"}
	if err := Write(dir, other); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir, "storage"); err != nil || !reflect.DeepEqual(got, n) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, n)
	}
	info, err := os.Stat(filepath.Join(dir, "storage.json"))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(filepath.Join(dir, "storage.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "storage-backup.json"), copied, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := List(dir)
	if len(all) != 2 || all[0].NodeENI != "other" || err == nil || !strings.Contains(err.Error(), "broken.json: ") {
		t.Errorf("all are %v, %v", all, err)
	}
	for range 2 {
		if err := Remove(dir, "storage"); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("there are %v, %v", entries, err)
	}
	if err := Remove(dir, "../x"); err == nil {
		t.Error("a path is taken for a name")
	}
}

func TestNetworkIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Network){
		`nodeENI: "../x" is not a valid NodeENI name`:                               func(n *Network) { n.NodeENI = "../x" },
		`enis[0]: id is missing`:                                                    func(n *Network) { n.ENIs[0].ID = "" },
		`enis[0] (eni-1): mac: address x: invalid MAC address`:                      func(n *Network) { n.ENIs[0].MAC = "x" },
		`mtu: -1 is negative`:                                                       func(n *Network) { n.ENIs[0].MTU = -1 },
		`ranges: 10.0.0.17/28 is not a valid CIDR`:                                  func(n *Network) { n.ENIs[0].Ranges[0] = netip.MustParsePrefix("10.0.0.17/28") },
		`ranges: 10.9.0.0 is not in any of the subnets [10.0.0.0/24 2001:db8::/64]`: func(n *Network) { n.ENIs[0].Ranges[0] = netip.MustParsePrefix("10.9.0.0/28") },
		`ranges: 10.0.0.0/23 is larger than the subnet`:                             func(n *Network) { n.ENIs[0].Ranges[0] = netip.MustParsePrefix("10.0.0.0/23") },
		`ranges: 10.0.0.16/32 overlaps with another range`: func(n *Network) {
			n.ENIs[0].Ranges = append(n.ENIs[0].Ranges, netip.MustParsePrefix("10.0.0.16/32"))
		},
		`addresses: no gateway for 10.0.0.4`:             func(n *Network) { n.ENIs[0].Gateways = nil },
		`addresses: "invalid IP" is not a valid address`: func(n *Network) { n.ENIs[0].Addresses = []netip.Addr{{}} },
		`has an empty entry`:                             func(n *Network) { n.ENIs[0].VPC = []netip.Prefix{{}} },
	} {
		n := network("10.0.0.16/28")
		change(&n)
		if err := Write(t.TempDir(), n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if n.NodeENI == "storage" && n.ENIs[0].ID != "" {
			n.ENIs[0].Ready = false
			if err := Write(t.TempDir(), n); err != nil {
				t.Errorf("while the ENI is not Ready: %v", err)
			}
		}
	}
}

// FuzzFiles: a file of whatever content is an error, or it has what its users count on.
func FuzzFiles(f *testing.F) {
	for _, value := range []any{network("10.0.0.16/28", "2001:db8:0:0:5::/80"), attachment("c1", "/run/netns/1")} {
		content, err := json.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add([]byte(`{"nodeENI": "a", "enis": [{"id": "e", "ready": true, "mac": "02:00:00:00:00:01", "ranges": ["::/0", ""]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if n, err := nodefile.Decode[Network](content); err == nil {
			for _, e := range n.ENIs {
				for _, r := range e.Ranges {
					if e.Ready && (!e.Subnet(r.Addr()).IsValid() || !e.Gateway(r.Addr()).IsValid()) {
						t.Errorf("range %s has no subnet, or no gateway", r)
					}
				}
			}
			_ = Usages([]Network{n}, nil)
		}
		if a, err := nodefile.Decode[Attachment](content); err == nil {
			_ = a.Leaked()
			_ = Usages(nil, []Attachment{a})
		}
	})
}

func attachment(containerID, netns string, addresses ...string) Attachment {
	a := Attachment{
		ContainerID: containerID, Interface: "net1", NetNS: netns, Pod: "default/" + containerID,
		Network: "storage", NodeENI: "storage", ENI: "eni-1", Mode: "ptp",
		Created: time.Now().UTC(), Boot: BootID(), Delegate: json.RawMessage(`{}`),
	}
	for _, address := range addresses {
		a.Addresses = append(a.Addresses, netip.MustParseAddr(address))
	}
	return a
}

func TestLeaked(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	rebooted := attachment("c", there)
	rebooted.Boot = "another"
	unknown := attachment("c", filepath.Join(dir, "gone"))
	unknown.Boot = ""
	for name, c := range map[string]struct {
		a    Attachment
		want bool
	}{
		"there":                     {attachment("c", there), false},
		"gone":                      {attachment("c", filepath.Join(dir, "gone")), true},
		"gone, in a boot not known": {unknown, true},
		"the directory is not seen": {attachment("c", filepath.Join(dir, "no", "gone")), false},
		"the directory is no such":  {attachment("c", filepath.Join(there, "gone")), false},
		"of a process that is gone": {attachment("c", "/proc/0/ns/net"), false},
		"relative":                  {attachment("c", "gone"), false},
		"before the last boot":      {rebooted, true},
	} {
		if got := c.a.Leaked(); got != c.want {
			t.Errorf("%s: leaked is %v", name, got)
		}
	}
}

func TestReserveGoesRound(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ranges := []netip.Prefix{netip.MustParsePrefix("10.0.0.16/31"), netip.MustParsePrefix("10.0.0.9/32")}
	reserve := func(containerID string, ranges []netip.Prefix, want string) {
		t.Helper()
		address, err := s.Reserve(containerID, "net1", "storage", ranges)
		if err != nil || fmt.Sprint(address) != want {
			t.Errorf("%s gets %s, %v; want %s", containerID, address, err, want)
		}
	}
	reserve("c1", ranges, "10.0.0.16")
	reserve("c2", ranges, "10.0.0.17")
	if err := s.Release("c1", "net1"); err != nil {
		t.Fatal(err)
	}
	reserve("c3", ranges, "10.0.0.9") // the one that was released comes last
	reserve("c4", ranges, "10.0.0.16")
	reserve("c5", ranges, "invalid IP")
	large := []netip.Prefix{netip.MustParsePrefix("2001:db8:0:0:5::/80")}
	reserve("c5", large, "2001:db8:0:0:5::")
	reserve("c6", large, "2001:db8::5:0:0:1")
	reserve("c7", ranges[:1], "invalid IP")
	end := []netip.Prefix{netip.MustParsePrefix("255.255.255.254/31")}
	for _, want := range []string{"255.255.255.254", "255.255.255.255", "invalid IP"} {
		reserve("c8"+want, end, want)
	}
}

// Whoever finds an attachment waits until the ADD that has written it down has ended: it
// must not get in between, with that ADD waiting for it with the store's lock.
func TestWriteHolds(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err == nil {
		err = s.Write(attachment("c1", "/run/netns/c1"))
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, "attachments", "c1:net1.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("another process takes the attachment: %v", err)
	}
}

func TestReclaim(t *testing.T) {
	dir := t.TempDir()
	if reclaimed, err := Reclaim(filepath.Join(dir, "none"), Any); err != nil || reclaimed != nil {
		t.Errorf("without a store: %v, %v", reclaimed, err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	addresses := filepath.Join(dir, addressesDir)
	there := filepath.Join(dir, "netns")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	for containerID, netns := range map[string]string{"alive": there, "gone": filepath.Join(dir, "gone"), "patience": filepath.Join(dir, "gone")} {
		address, err := s.Reserve(containerID, "net1", "storage", network("10.0.0.16/28").ENIs[0].Ranges)
		if err == nil {
			err = s.Write(attachment(containerID, netns, address.String()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"10.0.0.28": "killed\r\nnet1", // before the attachment was written down
		"10.0.0.29": "",               // before host-local wrote whose it is
		"10.0.0.30": "unreadable\r\nnet1",
		"10.0.0.31": "alive\r\nnet1",
		"10.0.0.27": "lost\r\nnet1",
	} {
		if err := os.WriteFile(filepath.Join(addresses, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"unreadable:net1.json", "lost:net1.json", unfinished} {
		if err := os.WriteFile(filepath.Join(dir, "attachments", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lost := filepath.Join(dir, "attachments", "lost:net1.json")
	for _, name := range []string{"lost", "alive"} {
		before := time.Unix(0, 0) // the boot
		if err := os.Chtimes(filepath.Join(dir, "attachments", name+":net1.json"), before, before); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reclaimed, err := Reclaim(dir, func(a Attachment) bool { return a.ContainerID != "patience" })
	if len(reclaimed) != 1 || reclaimed[0].ContainerID != "gone" || err == nil || !strings.Contains(err.Error(), "unreadable:net1.json") {
		t.Errorf("reclaimed are %v, %v", reclaimed, err)
	}
	for _, path := range []string{lost, filepath.Join(dir, "attachments", unfinished)} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a file that was not written to its end, %s: %v", path, err)
		}
	}
	entries, err := os.ReadDir(addresses)
	if err != nil {
		t.Fatal(err)
	}
	var holders []string
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(addresses, entry.Name()))
		if holder, _, found := strings.Cut(string(content), "\r\n"); err == nil && found {
			holders = append(holders, holder)
		}
	}
	slices.Sort(holders)
	if want := []string{"alive", "alive", "patience", "unreadable"}; !slices.Equal(holders, want) {
		t.Errorf("addresses are held by %s, want %s", holders, want)
	}
}

func TestUsages(t *testing.T) {
	dir := t.TempDir()
	n := network("10.0.0.16/28", "2001:db8:0:0:5::/80")
	unready := n.ENIs[0]
	unready.ID, unready.Ready = "eni-2", false
	own := n.ENIs[0]
	own.ID, own.Ranges = "eni-3", nil
	n.ENIs = append(n.ENIs, unready, own)
	gone := attachment("c2", filepath.Join(dir, "gone"), "10.0.0.17", "2001:db8::5:0:0:1")
	former := attachment("c3", dir, "10.0.0.18") // of an ENI that EC2 has given elsewhere
	former.NodeENI, former.ENI = "former", "eni-0"
	usages := Usages([]Network{n}, []Attachment{attachment("c1", dir, "10.0.0.16", "2001:db8:0:0:5::"), gone, former})
	var got []string
	for _, u := range usages {
		got = append(got, fmt.Sprintf("%s: %d in use, %d leaked, %d free", u.NodeENI, u.InUse, u.Leaked, u.Free))
	}
	if want := []string{"storage: 2 in use, 1 leaked, 14 free", "former: 1 in use, 0 leaked, 0 free"}; !slices.Equal(got, want) {
		t.Errorf("usages are %q, want %q", got, want)
	}
	whole := attachment("c4", dir, "10.0.0.4")
	whole.ENI, whole.Mode = "eni-3", HostDevice
	if u := Usages([]Network{n}, []Attachment{whole})[0]; u.Free != 16 {
		t.Errorf("with the link of eni-3 in a pod, %d are free", u.Free)
	}
}
