package vpc

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// A device that is in the namespace of a pod returns to the host when the namespace ends,
// and it cannot be deleted. A veth dies with the namespace, so the ENI is plugged in again.

// watchPorts plugs ENIs in again whose links have been deleted, until Close.
func (n *Network) watchPorts() error {
	updates := make(chan netlink.LinkUpdate, 64)
	err := n.router.Do(func() error {
		return netlink.LinkSubscribeWithOptions(updates, n.done, netlink.LinkSubscribeOptions{ReceiveBufferSize: 1 << 20, ReceiveBufferForceSize: !netns.InUserNamespace()})
	})
	if err != nil {
		return fmt.Errorf("watch the links of the VPC's namespace: %w", err)
	}
	n.background.Go(func() {
		for u := range updates {
			if u.Header.Type == unix.RTM_DELLINK && u.IfInfomsg.Family == unix.AF_UNSPEC {
				n.replug(u.Attrs().Index)
			}
		}
	})
	return nil
}

// replug connects the ENI whose port was this link.
func (n *Network) replug(link int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for eniID, p := range n.ports {
		if p.link != link || n.closed() {
			continue
		}
		p.link = 0
		_, err := n.connect(n.nodes[p.instanceID].ns, p, &p.attachment)
		if err == nil {
			err = n.openPort(p, eniID)
		}
		if err != nil {
			n.failures = append(n.failures, fmt.Errorf("plug %s into %s again: %w", eniID, p.instanceID, err))
		}
	}
}
