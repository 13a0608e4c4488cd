package program

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
)

// maxConnections is more than a kubelet, two scrapers and some people need.
const maxConnections = 32

// listen listens at HOST:PORT. An IPv6 address needs no brackets, since the port is
// never left out: a Pod's variable such as $(HOST_IP) cannot add them.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if i := strings.LastIndexByte(address, ':'); i > 0 {
		if host := address[:i]; strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
			address = net.JoinHostPort(host, address[i+1:])
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &boundedListener{Listener: listener}, nil
}

// OnEveryAddress says whether to listen at HOST:PORT is to listen on each address of
// the host.
func OnEveryAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// boundedListener holds at most maxConnections at a time. A new connection takes the
// place of the oldest one of the client that has the most. A client that opens
// connections and sends nothing therefore costs little memory, and it does not keep
// out the kubelet's probes, whose failure would restart the program.
type boundedListener struct {
	net.Listener

	mu   sync.Mutex
	open []*boundedConn // the oldest first
}

type boundedConn struct {
	net.Conn
	listener *boundedListener
	client   string
}

func (l *boundedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &boundedConn{Conn: conn, listener: l}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.client = tcp.IP.String()
	}
	l.mu.Lock()
	l.open = append(l.open, c)
	var victim *boundedConn
	if len(l.open) > maxConnections {
		victim = mostGreedy(l.open)
	}
	l.mu.Unlock()
	if victim != nil {
		victim.Close()
	}
	return c, nil
}

func (c *boundedConn) Close() error {
	l := c.listener
	l.mu.Lock()
	l.open = slices.DeleteFunc(l.open, func(other *boundedConn) bool { return other == c })
	l.mu.Unlock()
	return c.Conn.Close()
}

// mostGreedy is the oldest connection of the client that has the most.
func mostGreedy(open []*boundedConn) *boundedConn {
	count := map[string]int{}
	most := 0
	for _, c := range open {
		count[c.client]++
		most = max(most, count[c.client])
	}
	for _, c := range open {
		if count[c.client] == most {
			return c
		}
	}
	return nil
}
