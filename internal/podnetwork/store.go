package podnetwork

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
)

// Store is what a node knows of pods' addresses: the attachments, and the addresses that
// they hold. One store is for all NodeENIs, so that an address that a pod still holds is
// not given again when EC2 gives it to another ENI of the node.
//
// Addresses are in a store of host-local's: a file for each, whose exclusive creation is
// what makes it one pod's, with its lock.
type Store struct {
	dataDir   string
	addresses *disk.Store
}

const (
	addressesDir = "addresses"
	// unfinished is an attachment's file that is not written to its end.
	unfinished = ".unfinished"
)

// Open waits for the store's lock, which Close releases.
func Open(dataDir string) (*Store, error) {
	addresses, err := disk.New(addressesDir, dataDir)
	if err != nil {
		return nil, fmt.Errorf("open the store of pod addresses: %w", err)
	}
	if err := addresses.Lock(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the store of pod addresses in %s: %w", dataDir, err), addresses.Close())
	}
	return &Store{dataDir: dataDir, addresses: addresses}, nil
}

// Attachments are those written down, but for files that cannot be read.
func (s *Store) Attachments() []Attachment {
	attachments, _ := Attachments(s.dataDir)
	return attachments
}

// Has reports whether there is an attachment of a pod's interface, even one that cannot be
// read.
func (s *Store) Has(containerID, ifName string) bool {
	_, err := os.Lstat(filepath.Join(attachmentsDir(s.dataDir), attachmentName(containerID, ifName)))
	return !errors.Is(err, os.ErrNotExist)
}

// Holds reports whether an address is some pod's.
func (s *Store) Holds(address netip.Addr) bool {
	_, err := os.Lstat(filepath.Join(s.dataDir, addressesDir, address.String()))
	return !errors.Is(err, os.ErrNotExist)
}

// Close releases the lock.
func (s *Store) Close() error {
	return s.addresses.Close()
}

// Reserve takes a free address of the ranges for a pod's interface; the address is not
// valid when there is none. An address that was released just now comes last.
func (s *Store) Reserve(containerID, ifName, nodeENI string, ranges []netip.Prefix) (netip.Addr, error) {
	if len(ranges) == 0 {
		return netip.Addr{}, nil
	}
	family := "6"
	if ranges[0].Addr().Is4() {
		family = "4"
	}
	rangeID := nodeENI + "." + family
	last, err := s.addresses.LastReservedIP(rangeID)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return netip.Addr{}, err
	}
	previous, _ := netip.AddrFromSlice(last)
	for address := range addressesAfter(previous.Unmap(), ranges) {
		reserved, err := s.addresses.Reserve(containerID, ifName, address.AsSlice(), rangeID)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("reserve %s: %w", address, err)
		}
		if reserved {
			return address, nil
		}
	}
	return netip.Addr{}, nil
}

// addressesAfter goes through all addresses of the ranges once, beginning with the one
// after this address if they have it.
func addressesAfter(address netip.Addr, ranges []netip.Prefix) func(yield func(netip.Addr) bool) {
	at := 0
	next := ranges[0].Addr()
	for i, r := range ranges {
		if r.Contains(address) {
			at, next = i, address.Next()
		}
	}
	return func(yield func(netip.Addr) bool) {
		var first netip.Addr
		for {
			if !ranges[at].Contains(next) {
				at = (at + 1) % len(ranges)
				next = ranges[at].Addr()
			}
			if next == first || !yield(next) {
				return
			}
			if !first.IsValid() {
				first = next
			}
			next = next.Next()
		}
	}
}

// Write writes an attachment down, and holds it as [Hold] does: no other process must come
// in between, since this one would wait for that with the store's lock, and that for the lock.
func (s *Store) Write(a Attachment) error {
	if err := a.Validate(); err != nil {
		return fmt.Errorf("save the attachment: %w", err)
	}
	// No sync: when the node dies, the pods do, and Reclaim knows files that came to nothing.
	err := nodefile.Write(attachmentsDir(s.dataDir), attachmentName(a.ContainerID, a.Interface), unfinished, a, holdFile)
	if err != nil {
		return fmt.Errorf("save the attachment: %w", err)
	}
	return nil
}

// Release releases all addresses of a pod's interface, and forgets the attachment.
func (s *Store) Release(containerID, ifName string) error {
	err := s.addresses.ReleaseByID(containerID, ifName)
	// ReleaseByID says nothing of files that it could not remove.
	if left := s.addresses.GetByID(containerID, ifName); err == nil && len(left) > 0 {
		err = fmt.Errorf("cannot remove the addresses %s from %s", left, filepath.Join(s.dataDir, addressesDir))
	}
	if err != nil {
		return fmt.Errorf("release addresses: %w", err)
	}
	err = os.Remove(filepath.Join(attachmentsDir(s.dataDir), attachmentName(containerID, ifName)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Reclaim takes back what is leaked: attachments of pods that are gone, if the function
// agrees, those that were lost with a boot, and addresses without an attachment. It returns the attachments.
func (s *Store) Reclaim(agrees func(Attachment) bool) ([]Attachment, error) {
	attachments, err := nodefile.ReadAll(attachmentsDir(s.dataDir), s.readOrForget)
	errs := []error{err}
	var reclaimed []Attachment
	for _, a := range attachments {
		if !a.Leaked() || !agrees(a) {
			continue
		}
		if err := s.Release(a.ContainerID, a.Interface); err != nil {
			errs = append(errs, err)
			continue
		}
		reclaimed = append(reclaimed, a)
	}
	errs = append(errs, s.reclaimAddresses())
	err = os.Remove(filepath.Join(attachmentsDir(s.dataDir), unfinished))
	if !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return reclaimed, errors.Join(errs...)
}

// readOrForget reads an attachment. One that cannot be read is forgotten if it is from
// before the node booted, which then died before the file's content was on the disk.
func (s *Store) readOrForget(name string) (Attachment, error) {
	path := filepath.Join(attachmentsDir(s.dataDir), name)
	a, err := nodefile.Read[Attachment](path)
	if err == nil {
		return a, nil
	}
	info, missing := os.Lstat(path)
	if missing != nil || !info.ModTime().Before(booted()) {
		return a, err
	}
	if err := os.Remove(path); err != nil {
		return a, err
	}
	return a, os.ErrNotExist
}

// reclaimAddresses removes addresses without an attachment, also when they do not say
// whose they are: whoever took them was killed in between, or it would have the lock.
func (s *Store) reclaimAddresses() error {
	dir := filepath.Join(s.dataDir, addressesDir)
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, entry := range entries {
		if _, err := netip.ParseAddr(entry.Name()); err != nil {
			continue // the lock, and what was reserved last
		}
		path := filepath.Join(dir, entry.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		containerID, ifName, _ := strings.Cut(strings.TrimSpace(string(content)), disk.LineBreak)
		if !s.Has(containerID, ifName) {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// Reclaim is [Store.Reclaim] for a program that does nothing else with the store, which
// need not exist.
func Reclaim(dataDir string, agrees func(Attachment) bool) ([]Attachment, error) {
	s, err := openExisting(dataDir)
	if s == nil {
		return nil, err
	}
	reclaimed, err := s.Reclaim(agrees)
	return reclaimed, errors.Join(err, s.Close())
}

// Release is [Store.Release], and takes back what else is leaked. The store need not exist.
func Release(dataDir, containerID, ifName string) error {
	s, err := openExisting(dataDir)
	if s == nil {
		return err
	}
	err = s.Release(containerID, ifName)
	// What cannot be taken back is the agent's to report, not this pod's.
	_, _ = s.Reclaim(Any)
	return errors.Join(err, s.Close())
}

// Any agrees to all.
func Any(Attachment) bool { return true }

func openExisting(dataDir string) (*Store, error) {
	_, err := os.Stat(filepath.Join(dataDir, addressesDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Open(dataDir)
}
