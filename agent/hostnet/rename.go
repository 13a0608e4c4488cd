package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// renamer is what renaming a link needs of netlink.
type renamer interface {
	setName(index int, name string) error
	setUp(index int, up bool) error
	delAltName(index int, name string) error
	linkByName(name string) (link, error)
}

func (h *Host) rename(l link, name string) error { return rename(h.conn, l, name) }

// rename gives l the name. The error is a [NameTakenError] when another link
// has it.
func rename(c renamer, l link, name string) error {
	if slices.Contains(l.altNames, name) {
		// udev gives each link its other possible names as alternatives, and
		// the kernel takes them for taken even when it is the same link.
		if err := c.delAltName(l.index, name); err != nil {
			return fmt.Errorf("remove alternative name %s from link %s: %w", name, l.name, err)
		}
	}
	err := c.setName(l.index, name)
	if errors.Is(err, unix.EBUSY) { // up, and Linux before 6.2
		err = renameDown(c, l, name)
	}
	if errors.Is(err, unix.EEXIST) {
		return nameTaken(c, l, name)
	}
	if err != nil {
		return fmt.Errorf("rename link %s to %s: %w", l.name, name, err)
	}
	return nil
}

// renameDown renames a link while it is down, and takes it up again whether
// that succeeds or not.
func renameDown(c renamer, l link, name string) error {
	if err := c.setUp(l.index, false); err != nil {
		return err
	}
	return errors.Join(c.setName(l.index, name), c.setUp(l.index, true))
}

// Yield takes a name from the link of the ENI with this MAC, so that another can
// have it; the link gets the name eni and its index instead. It is not an error
// when the link does not bear the name.
func (h *Host) Yield(mac net.HardwareAddr, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, err := h.find(mac)
	switch {
	case err != nil || l == nil:
	case l.name == name:
		err = h.rename(*l, fmt.Sprintf("eni%d", l.index))
	case slices.Contains(l.altNames, name):
		err = h.conn.delAltName(l.index, name)
	}
	if err != nil {
		return fmt.Errorf("remove the name %s from the link of ENI %v: %w", name, mac, err)
	}
	return nil
}

func nameTaken(c renamer, l link, name string) error {
	holder, err := c.linkByName(name)
	if errors.Is(err, unix.ENODEV) {
		// It was free again already; the next attempt gets it.
		return fmt.Errorf("rename link %s to %s: %w", l.name, name, err)
	}
	if err != nil {
		return err
	}
	if holder.index == l.index {
		return nil // somebody gave it the name just now
	}
	return &NameTakenError{
		Name: name, Link: l.name,
		Holder: holder.name, HolderIndex: holder.index, HolderMAC: holder.mac,
	}
}
