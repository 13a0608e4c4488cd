package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, config Config) *Simulator {
	t.Helper()
	s, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func node(t *testing.T, s *Simulator, name string) Node {
	t.Helper()
	n, err := s.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still not the case: " + what)
		}
	}
}

func TestForwardedService(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") }))
	defer func() { _ = web.close() }()
	s := start(t, Config{Forward: []Service{{Name: "web", Target: web.address()}}})
	service, ok := s.Service("web")
	if !ok || service.Address.Addr().String() != "192.0.2.2" {
		t.Fatalf("service %+v", service)
	}
	for _, n := range s.Nodes() {
		transport := &http.Transport{DialContext: n.Namespace.DialContext}
		answer, err := (&http.Client{Transport: transport}).Get("http://" + service.Address.String())
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		transport.CloseIdleConnections()
	}
	for want, bad := range map[string]Service{
		"not taken":         {Name: "web", Target: "127.0.0.1:1"},
		"not HOST:PORT":     {Name: "x", Target: "127.0.0.1"},
		"not a port number": {Name: "x", Target: "127.0.0.1:http"},
	} {
		if _, err := s.Forward(bad.Name, bad.Target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Forward(%+v) = %v, want an error with %q", bad, err, want)
		}
	}
}

func TestTerminate(t *testing.T) {
	s := start(t, Config{Topology: Topology{Nodes: Nodes(2)}})
	gone := node(t, s, "node-1")
	if err := s.Cloud().Terminate(gone.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is gone", func() bool { _, err := s.Node(gone.ID); return errors.Is(err, errNotFound) })
	if path := gone.Namespace.Path(); path != "" {
		t.Errorf("its namespace is still at %s", path)
	}
	if again, err := s.AddNode(NodeSpec{Name: "node-1"}); err != nil || again.ID == gone.ID {
		t.Errorf("a new instance under the old name: %+v, %v", again, err)
	}
}

// descriptors lists what this process holds open, apart from what the runtime
// opens for itself.
func descriptors(t *testing.T) []string {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if strings.HasPrefix(target, "net:[") || strings.HasPrefix(target, "socket:[") {
			open = append(open, target)
		}
	}
	return open
}

func TestCloseLeavesNothing(t *testing.T) {
	http.DefaultClient.CloseIdleConnections()
	before := descriptors(t)
	for name, c := range map[string]Config{
		"closed": {HostIMDS: true},
		"failed": {Topology: Topology{Nodes: []NodeSpec{{}, {Type: "m0.none"}}}},
	} {
		s, err := Start(context.Background(), c)
		if err == nil {
			err = s.Close()
		} else if name != "failed" {
			t.Error(err)
		}
		if name == "closed" && err != nil {
			t.Error(err)
		}
		eventually(t, name+": sockets and namespaces are closed", func() bool { return len(descriptors(t)) <= len(before) })
	}
}

func TestStartErrors(t *testing.T) {
	for want, c := range map[string]Config{
		"m0.none":                          {NoNetwork: true, Topology: Topology{Nodes: []NodeSpec{{Type: "m0.none"}}}},
		"EC2 endpoint":                     {NoNetwork: true, EC2Listen: "127.0.0.1:99999"},
		"admin endpoint":                   {NoNetwork: true, AdminListen: "192.0.2.77:1"},
		"accountID":                        {NoNetwork: true, Topology: Topology{AccountID: "12"}},
		"used twice":                       {NoNetwork: true, Topology: Topology{Subnets: []Subnet{{Name: "a"}, {Name: "a"}}}},
		"first link number":                {Topology: func() Topology { var t Topology; t.Links.First = -1; return t }()},
		"not HOST:PORT":                    {Forward: []Service{{Name: "x", Target: "x"}}},
		"no network":                       {NoNetwork: true, Forward: []Service{{Name: "x", Target: "127.0.0.1:1"}}},
		`nodes[1]: name "a" is used twice`: {NoNetwork: true, Topology: Topology{Nodes: []NodeSpec{{Name: "a"}, {Name: "a"}}}},
	} {
		if s, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, %v, want an error with %q", c, s, err, want)
		}
	}
}

// What listens everywhere has an URL that this machine can use.
func TestListenEverywhere(t *testing.T) {
	s := start(t, Config{NoNetwork: true, EC2Listen: "0.0.0.0:0", Topology: Topology{Nodes: Nodes(1)}})
	if !strings.HasPrefix(s.EC2URL(), "http://127.0.0.1:") {
		t.Errorf("EC2 at %s", s.EC2URL())
	}
	must[*ec2.DescribeVpcsOutput](t)(hostEC2(s).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}))
}

func TestNodesAreSortedByNumber(t *testing.T) {
	s := start(t, Config{NoNetwork: true, Topology: Topology{Nodes: Nodes(11)}})
	var names []string
	for _, n := range s.Nodes() {
		names = append(names, n.Name)
	}
	if names[1] != "node-2" || names[10] != "node-11" {
		t.Errorf("order: %v", names)
	}
}
