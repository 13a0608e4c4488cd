package program

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// served is a Health with metrics, and the address that it serves at.
func served(t *testing.T, address string) string {
	t.Helper()
	h := NewHealth(slog.New(slog.DiscardHandler))
	h.serveMetrics(NewMetrics("test"))
	if err := h.Serve(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	return address
}

// clientAt dials from an address of loopback.
func clientAt(ip string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 5 * time.Second}
}

func memoryInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Whoever opens connections and does not finish a request, however many, costs
// little memory, and the kubelet still gets its answer.
func TestHalfOpenConnections(t *testing.T) {
	address := served(t, freeAddress(t))
	transport := &http.Transport{DialContext: clientAt("127.0.0.1").DialContext, DisableKeepAlives: true}
	probe := http.Client{Transport: transport, Timeout: 5 * time.Second} // as kubelet's, a connection each time
	before, goroutines := memoryInUse(), runtime.NumGoroutine()

	const connections, atOnce = 15_000, 5_000 // for want of files, this side gives up the oldest
	flood := clientAt("127.0.0.2")
	var open []net.Conn
	for i := range connections {
		conn, err := flood.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") // it may be closed by now
		if open = append(open, conn); len(open) > atOnce {
			open[0].Close()
			open = open[1:]
		}
		if i%1000 == 999 {
			resp, err := probe.Get("http://" + address + "/healthz")
			if err != nil {
				t.Fatalf("a probe beside %d connections: %v", i+1, err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("a probe beside %d connections is answered %s", i+1, resp.Status)
			}
		}
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines+2*maxConnections && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if now := runtime.NumGoroutine(); now > goroutines+2*maxConnections {
		t.Errorf("%d connections leave %d goroutines, of %d before", connections, now, goroutines)
	}
	if after := memoryInUse(); after > before+16<<20 { // of which this side's 5,000 are the most
		t.Errorf("%d connections cost %d MiB", connections, (after-before)>>20)
	}
	for _, conn := range open {
		conn.Close()
	}
}

// A client that holds the places one by one keeps the others out no more.
func TestOtherClientsAreServed(t *testing.T) {
	address := served(t, freeAddress(t))
	for range 2 * maxConnections {
		conn, err := clientAt("127.0.0.2").DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	// The scraper keeps its connection.
	kept, err := clientAt("127.0.0.1").DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for range 2 * maxConnections {
		conn, err := clientAt("127.0.0.3").DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	fmt.Fprint(kept, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	answer := make([]byte, 15)
	if n, err := kept.Read(answer); err != nil || string(answer[:n]) != "HTTP/1.1 200 OK" {
		t.Errorf("it reads %q, %v", answer[:n], err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	address := served(t, freeAddress(t))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 9<<10))
	answer := make([]byte, 12)
	if n, err := conn.Read(answer); err != nil || string(answer[:n]) != "HTTP/1.1 431" {
		t.Errorf("9 KiB of headers are answered %q, %v", answer[:n], err)
	}
}

// Who names an address is not served on the host's others, such as its ENIs'.
func TestOnlyTheNamedAddress(t *testing.T) {
	address := served(t, freeAddress(t))
	_, port, _ := net.SplitHostPort(address)
	for host, want := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false, "[::1]": false} {
		conn, err := net.DialTimeout("tcp", host+":"+port, 5*time.Second)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("a connection to %s: %v", host, err)
		}
	}
}

// $(HOST_IP):9480, as a Pod's argument, is without brackets in a cluster of IPv6.
func TestAddressesOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this host has no IPv6: ", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	for _, address := range []string{fmt.Sprintf("::1:%d", port), fmt.Sprintf("[::1]:%d", port)} {
		listener, err := listen(t.Context(), address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if got, want := listener.Addr().String(), fmt.Sprintf("[::1]:%d", port); got != want {
			t.Errorf("%s listens at %s, want %s", address, got, want)
		}
		listener.Close()
	}
	for address, want := range map[string]bool{":9480": true, "0.0.0.0:9480": true, "[::]:9480": true, "10.0.0.7:9480": false, "[fd00::7]:9480": false, "localhost:9480": false, "": false} {
		if got := OnEveryAddress(address); got != want {
			t.Errorf("%q is on every address: %v", address, got)
		}
	}
}
