package hostnet

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An answer that cannot be read is an error, and the next question gets its own
// answer all the same: also when the first one was longer than a datagram.
func TestAnswersThatCannotBeRead(t *testing.T) {
	n := newNode(t)
	n.crowd(60)
	spoiled, read := errors.New("spoiled"), 0
	_, err := dump(n.host.conn, unix.RTM_GETLINK, func([]byte) (link, error) {
		read++
		return link{}, spoiled
	}, every, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if !errors.Is(err, spoiled) || read != 1 {
		t.Errorf("%v after %d messages, want the first one's error", err, read)
	}
	if links, err := n.host.conn.links(); err != nil || len(links) != 61 {
		t.Errorf("%d links, %v; want lo and 60 others", len(links), err)
	}
	if _, err := n.host.conn.link(4711); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a link that is not there: %v", err)
	}
	if l, err := n.host.conn.link(1); err != nil || l.name != "lo" {
		t.Errorf("%+v, %v; want lo", l, err)
	}
}

// What another process of the node sends counts for nothing.
func TestAnswersOfOthers(t *testing.T) {
	n := newNode(t)
	c := n.host.conn
	n.must(n.ns.Do(func() error {
		other, err := nl.Subscribe(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer other.Close()
		failure := encoded(unix.NLMSG_ERROR, 0, c.seq+1, binary.NativeEndian.AppendUint32(nil, ^uint32(0)))
		return unix.Sendto(other.GetFd(), failure, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: c.socket.pid})
	}))
	if l, err := n.host.conn.link(1); err != nil || l.name != "lo" {
		t.Errorf("%+v, %v; want lo", l, err)
	}
}

// What the kernel refuses comes with its reason.
func TestRefusal(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	dev := n.plug("eth1", w.MAC).Attrs().Index
	n.must(n.host.conn.setUp(dev, true))
	err := n.host.conn.apply(dev, change{add, newRoute(w.Table(), netip.MustParsePrefix("10.9.0.0/16"), netip.MustParseAddr("10.0.1.1"), dev)})
	if !errors.Is(err, unix.ENETUNREACH) || !strings.Contains(err.Error(), "Nexthop has invalid gateway") {
		t.Errorf("a gateway out of reach: %v", err)
	}
}

func encoded(typ, flags uint16, seq uint32, data []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, data...)
	return append(b, make([]byte, aligned(len(b))-len(b))...)
}

func TestMessages(t *testing.T) {
	first, second := encoded(1, 0, 7, []byte("abcde")), encoded(2, 0, 8, nil)
	for name, test := range map[string]struct {
		datagram []byte
		want     string
	}{
		"two":               {slices.Concat(first, second), "abcde|"},
		"no padding at end": {slices.Concat(second, first[:21]), "|abcde"},
		"cut off":           {slices.Concat(second, first[:20]), ""},
		"a header alone":    {first[:16], ""},
		"too short":         {first[:15], ""},
		"nothing":           {nil, ""},
		"length of 0":       {make([]byte, 32), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for m := (messages{rest: test.datagram}); m.next(); {
				got = append(got, string(m.data))
			}
			if text := strings.Join(got, "|"); text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
	for want, data := range map[error][]byte{
		nil:         nil,
		unix.EPERM:  binary.NativeEndian.AppendUint32(nil, ^uint32(0)), // -1
		unix.ENOENT: binary.NativeEndian.AppendUint32(nil, ^uint32(1)),
	} {
		if m := (message{data: data}); !errors.Is(m.errno(), want) {
			t.Errorf("%v, want %v", m.errno(), want)
		}
	}
	if err := (message{data: make([]byte, 4)}).errno(); err != nil {
		t.Errorf("success is %v", err)
	}
}

// However the bytes are, reading them ends, and never outside of them.
func FuzzDecode(f *testing.F) {
	n := newNode(f)
	n.crowd(2)
	w := eni(f)
	n.plug("eth1", w.MAC)
	n.configure(w)
	for _, typ := range []int{unix.RTM_GETLINK, unix.RTM_GETADDR, unix.RTM_GETRULE, unix.RTM_GETROUTE} {
		header := make([]byte, unix.SizeofRtMsg)
		_ = n.host.conn.ask(typ, unix.NLM_F_DUMP, raw(header), nil, func(msg []byte) error {
			f.Add(slices.Clone(msg))
			return nil
		})
	}
	f.Fuzz(func(_ *testing.T, msg []byte) {
		_, _ = decodeLink(msg)
		_, _ = decodeAddress(msg)
		_, _ = decodeRule(msg)
		_, _ = decodeRoute(msg)
		for m := (messages{rest: msg}); m.next(); {
			_ = m.errno()
		}
		_ = message{typ: unix.NLMSG_ERROR, flags: unix.NLM_F_ACK_TLVS, data: msg}.errno()
	})
}

// raw is a header of a request.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }

// Reading rules and routes takes no memory: a node with many pods has many.
func TestDecodeTakesNoMemory(t *testing.T) {
	n := newNode(t)
	n.crowd(2)
	header := &nl.RtMsg{} // of both families
	for name, test := range map[string]struct {
		typ    int
		decode func([]byte) error
	}{
		"rules":  {unix.RTM_GETRULE, func(m []byte) error { _, err := decodeRule(m); return err }},
		"routes": {unix.RTM_GETROUTE, func(m []byte) error { _, err := decodeRoute(m); return err }},
	} {
		msgs := n.answers(test.typ, header)
		if len(msgs) < 4 {
			t.Errorf("%d %s, want those of two pods and the kernel's", len(msgs), name)
		}
		for _, m := range msgs {
			if got := testing.AllocsPerRun(10, func() { n.must(test.decode(m)) }); got != 0 {
				t.Errorf("%s: %v allocations, want none", name, got)
			}
		}
	}
}

// mostAllocs is what a look at an ENI that is as it must be may allocate.
const mostAllocs = 100

// What pods have costs an agent no memory with each look at its ENIs.
func TestForeignRulesCostNoMemory(t *testing.T) {
	allocs := func(pods int) float64 {
		n := newNode(t)
		n.crowd(pods)
		w := eni(t)
		n.plug("eth1", w.MAC)
		n.configure(w)
		return testing.AllocsPerRun(20, func() { n.configure(w) })
	}
	few, many := allocs(1), allocs(100)
	if few > mostAllocs || many > few+10 {
		t.Errorf("%v allocations with one pod, %v with 100; want at most %v, and as many", few, many, mostAllocs)
	}
}
