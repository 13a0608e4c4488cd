package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// attempts bounds how often a configuration is begun again because the
	// link went down or away under it, as when udev renames it.
	attempts = 4
	// rounds bounds how often what has been changed is looked at again.
	rounds = 3
)

// Configure makes the link of an ENI what w says, and changes nothing when it
// is that already. While there is no link, it does nothing and Status.Present
// is false.
//
// A [NameTakenError], an [MTUError] and a [MasterError] keep the rest from nothing: everything
// else is carried out, and the error names what is missing. An
// [AmbiguousError] means that nothing was done.
func (h *Host) Configure(w Wanted) (Status, error) {
	if err := w.validate(); err != nil {
		return Status{}, fmt.Errorf("configure the link of an ENI: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.copier.know(w.MAC); err != nil {
		return Status{}, fmt.Errorf("configure the link of ENI %v: %w", w.MAC, err)
	}
	status, err := persist(func() (Status, error) { return h.configure(w) })
	if err != nil {
		return status, fmt.Errorf("configure the link of ENI %v: %w", w.MAC, err)
	}
	return status, nil
}

// persist begins again while the link is unsettled, and adds up the changes.
func persist(configure func() (Status, error)) (status Status, err error) {
	repaired := 0
	for range attempts {
		status, err = configure()
		repaired += status.Repaired
		if !isUnsettled(err) {
			break
		}
	}
	status.Repaired = repaired
	return status, err
}

// isUnsettled reports whether err comes of a link that somebody takes down or
// away at this moment.
func isUnsettled(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH)
}

func (h *Host) configure(w Wanted) (Status, error) {
	l, err := h.find(w.MAC)
	if err != nil {
		return Status{}, err
	}
	unguarded := h.keepAdvertisements(w.MAC, l) // before the link is up
	if l == nil {
		return Status{}, nil
	}
	status := Status{Present: true, Index: l.index, Name: l.name, MTU: l.mtu}
	changed, refused, err := h.configureLink(*l, w)
	status.Repaired += changed
	if err != nil {
		return status, err
	}
	if changed > 0 {
		now, err := h.conn.link(l.index)
		if err != nil {
			return status, err
		}
		l, status.Name, status.MTU = &now, now.name, now.mtu
	}
	if unguarded != nil && l.ipv6.advertised && w.subnetOf(router6).IsValid() {
		refused = errors.Join(refused, &AdvertisementError{Link: l.name, Err: unguarded})
	}
	if w.routed() && l.master != 0 {
		return status, errors.Join(refused, h.hasMaster(*l))
	}
	if !l.ipv6.on && (w.hasAddress(unix.AF_INET6) || w.hasRange(unix.AF_INET6)) {
		refused = errors.Join(refused, &IPv6Error{Link: l.name})
		w = w.only(unix.AF_INET)
	}
	changed, err = h.configureRouting(w, l.index)
	status.Repaired += changed
	if err != nil {
		return status, err
	}
	return status, refused
}

// keepAdvertisements keeps those of routers from the ENI's link; when it is not here,
// from the links that come next.
func (h *Host) keepAdvertisements(mac net.HardwareAddr, l *link) error {
	if l == nil {
		return h.guard.await(mac, h.newest)
	}
	return h.guard.add(mac, l.index)
}

// Expect says that the link of this ENI is about to come, for EC2 is asked to attach it:
// from now on no router's advertisement is taken on it, be it that others set it up
// before Configure sees it.
func (h *Host) Expect(mac net.HardwareAddr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.find(mac)
	if err == nil {
		err = h.keepAdvertisements(mac, l)
	}
	if err != nil {
		return fmt.Errorf("prepare for the link of ENI %v: %w", mac, err)
	}
	return nil
}

// find returns the link of the ENI with this MAC, or nil.
func (h *Host) find(mac []byte) (*link, error) {
	if index, ok := h.known[string(mac)]; ok {
		l, err := h.conn.link(index)
		if err == nil && l.is(mac) {
			return &l, nil
		}
		if err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, err
		}
		delete(h.known, string(mac))
	}
	links, err := h.conn.links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		h.newest = max(h.newest, l.index)
	}
	l, err := match(links, mac)
	if l != nil {
		h.known[string(mac)] = l.index
	}
	return l, err
}

// configureLink sets name, MTU and up. What the link refuses comes back apart
// from what failed: the rest goes on without it.
func (h *Host) configureLink(l link, w Wanted) (changed int, refused, err error) {
	if w.InterfaceName != "" && l.name != w.InterfaceName {
		err := h.rename(l, w.InterfaceName)
		if taken := (*NameTakenError)(nil); errors.As(err, &taken) {
			refused = errors.Join(refused, err)
		} else if err != nil {
			return changed, refused, err
		} else {
			changed++
		}
	}
	if w.MTU != 0 && l.mtu != w.MTU {
		if err := h.setMTU(l, w.MTU); err != nil {
			refused = errors.Join(refused, err)
		} else {
			changed++
		}
	}
	if !l.up {
		if err := h.conn.setUp(l.index, true); err != nil {
			return changed, refused, fmt.Errorf("set link %s up: %w", l.name, err)
		}
		changed++
	}
	return changed, refused, nil
}

// hasMaster says why the link cannot have addresses.
func (h *Host) hasMaster(l link) error {
	master, err := h.conn.link(l.master)
	if err != nil {
		return err
	}
	kind := master.kind
	if master.kind == "" {
		kind = "its master"
	}
	return &MasterError{Link: l.name, Master: master.name, Kind: kind}
}

func (h *Host) setMTU(l link, mtu int) error {
	refusal := &MTUError{Link: l.name, MTU: mtu, Min: l.minMTU, Max: l.maxMTU}
	if mtu < l.minMTU || l.maxMTU != 0 && mtu > l.maxMTU {
		return refusal
	}
	refusal.Err = h.conn.setMTU(l.index, mtu)
	if refusal.Err != nil {
		return refusal
	}
	return nil
}

// configureRouting brings addresses, rules and routes to what w says. It
// looks again after it made changes: others may have been at it as well.
func (h *Host) configureRouting(w Wanted, dev int) (changed int, err error) {
	if w.routed() {
		if err := h.copier.start(w.Subnets); err != nil {
			return 0, err
		}
	}
	for range rounds {
		have, err := h.conn.ofENI(dev, w.Table())
		if err != nil {
			return changed, err
		}
		changes := plan(w, dev, have)
		if len(changes) == 0 {
			if w.Host {
				// The ENI works without, too; Sweep tries again, and reports an error.
				_ = h.marker.add(repliesOf(w))
				return changed, nil
			}
			if !h.copier.active() {
				return changed, nil
			}
			return changed, h.dropCopy(have.rules)
		}
		h.guard.restore() // what the kernel has taken may be the reason
		n, err := h.applyAll(dev, changes)
		changed += n
		if err != nil {
			return changed, err
		}
	}
	return changed, errors.New("another program removes addresses, rules, or routes as fast as the agent adds them; " +
		"look for a network manager or another agent that configures this link")
}

// applyAll carries out changes in their order and stops at the first that
// fails.
func (h *Host) applyAll(dev int, changes []change) (done int, err error) {
	promoted := false
	for _, ch := range changes {
		if a, ok := ch.object.(address); ok && ch.verb == del && a.prefix.Addr().Is4() && !promoted {
			if err := h.conn.promoteSecondaries(dev); err != nil && !isGone(err) {
				return done, fmt.Errorf("set promote_secondaries on link %d: %w", dev, err)
			}
			promoted = true
		}
		if err := h.conn.apply(dev, ch); err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

// Release takes from the host what Configure made for the ENI, whatever tables
// that is in, and takes the link down: first the addresses, so that from then
// on nothing can be sent from them, then rules and routes. Foreign addresses
// stay. It is not an error when the link is gone or nothing is left.
//
// Router advertisements are kept from the link until it has gone, for others may set it
// up again.
//
// Of w, it needs MAC, and Addresses or Subnets, to tell the ENI's rules and
// addresses, and PodRanges to tell the rules of those. [Host.Sweep] deletes what is left.
func (h *Host) Release(w Wanted) error {
	w.Host = false
	if err := w.validateMAC(); err != nil {
		return fmt.Errorf("release the link of an ENI: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.release(w); err != nil {
		return fmt.Errorf("release the link of ENI %v: %w", w.MAC, err)
	}
	return nil
}

func (h *Host) release(w Wanted) error {
	l, err := h.find(w.MAC)
	if err != nil {
		return err
	}
	dev := 0
	if l != nil {
		dev = l.index
	}
	have, err := h.conn.ofLink(dev)
	if dev != 0 && errors.Is(err, unix.ENODEV) { // it went just now
		dev, l = 0, nil
		have, err = h.conn.ofLink(dev)
	}
	if err != nil {
		return err
	}
	// A mark without a rule does nothing, so its error keeps the rest from nothing.
	unmarked := h.marker.drop(ownSources(w, have))
	if _, err := h.applyAll(dev, planRelease(w, dev, have)); err != nil {
		return err
	}
	if slices.ContainsFunc(have.rules, rule.leadsToCopy) {
		rules, err := h.conn.rulesOfBand()
		if err != nil {
			return err
		}
		if err := h.dropCopy(rules); err != nil {
			return err
		}
	}
	if l == nil || !l.up {
		return unmarked
	}
	if err := h.conn.setUp(dev, false); err != nil && !isGone(err) {
		return fmt.Errorf("set link %s down: %w", l.name, err)
	}
	return unmarked
}

// dropCopy deletes the copy of main when no rule leads to it.
func (h *Host) dropCopy(rules []rule) error {
	if slices.ContainsFunc(rules, rule.leadsToCopy) {
		return nil
	}
	return h.copier.stop()
}

// Sweep deletes those of our rules and routes that belong to none of keep, as
// an ENI leaves them that was detached while no agent ran. It returns how
// many there were.
func (h *Host) Sweep(keep []Wanted) (removed int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var have state
	if have.rules, err = h.conn.rulesOfBand(); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	subnets := make(map[netip.Prefix]bool)
	for _, w := range keep {
		if !w.routed() {
			continue
		}
		for _, subnet := range w.Subnets {
			subnets[subnet] = true
		}
	}
	filter := routeFilter{protocol: unix.RTPROT_KERNEL}
	if len(subnets) > 0 {
		filter.except = copyTable
	}
	if have.routes, err = h.conn.routes(filter); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	if h.copier.keep(subnets); len(subnets) == 0 && h.copier.active() {
		if err := h.copier.stop(); err != nil {
			return 0, fmt.Errorf("sweep: %w", err)
		}
	}
	removed, err = h.applyAll(0, sweep(keep, have))
	if err := errors.Join(err, h.marker.set(repliesOf(keep...)), h.guard.sweep(keep, h.exists)); err != nil {
		return removed, fmt.Errorf("sweep: %w", err)
	}
	return removed, nil
}

// exists reports whether there may be a link with this index.
func (h *Host) exists(index int) bool {
	_, err := h.conn.link(index)
	return !errors.Is(err, unix.ENODEV)
}
