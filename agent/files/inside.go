package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// directory is where the state is. Root may run eni-agent cleanup and status in one
// that belongs to the service's user, who may put there what he likes. So names are
// looked up in the directory that was opened, no symbolic link is followed, only
// regular files are opened, and nothing but what was made here is written to or given
// away: a hard link leads to nothing.
type directory struct{ *os.File }

func openDirectory(path string) (*directory, error) {
	file, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &directory{file}, nil
}

// openAt opens a file by name. O_NONBLOCK is for FIFOs, which would be waited at.
func (d *directory) openAt(name string, flags int) (*os.File, error) {
	path := filepath.Join(d.Name(), name)
	fd, err := unix.Openat(int(d.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link, which is not allowed; remove it", path)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// open opens a file that is there and regular.
func (d *directory) open(name string, flags int) (*os.File, error) {
	file, err := d.openAt(name, flags)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	err = unix.Fstat(int(file.Fd()), &stat)
	switch {
	case err != nil:
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("not a regular file; remove it")
	default:
		return file, nil
	}
	file.Close()
	return nil, fmt.Errorf("%s: %w", file.Name(), err)
}

// hasOneName reports whether a file has no other hard links, so that it cannot be
// somebody else's that was linked here.
func hasOneName(file *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(file.Fd()), &stat) == nil && stat.Nlink == 1
}

// create makes a file that is not there yet. It belongs to whom the directory belongs
// to: a service with a user of its own has to get on with what root leaves.
func (d *directory) create(name string) (*os.File, error) {
	file, err := d.openAt(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil || os.Geteuid() != 0 {
		return file, err
	}
	var owner unix.Stat_t
	err = unix.Fstat(int(d.Fd()), &owner)
	if err == nil && owner.Uid != 0 {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("change the owner of %s to that of its directory: %w", file.Name(), err)
	}
	return file, nil
}

// openOrCreate opens a file to lock it. Between the two attempts others may make or
// remove it.
func (d *directory) openOrCreate(name string) (*os.File, error) {
	file, err := d.create(name)
	if errors.Is(err, os.ErrExist) {
		file, err = d.open(name, unix.O_RDWR)
	}
	if errors.Is(err, os.ErrNotExist) {
		file, err = d.create(name)
	}
	return file, err
}

// writeSynced makes a file, in the place of one that a crash has left.
func (d *directory) writeSynced(name string, data []byte) error {
	if err := d.remove(name); err != nil {
		return err
	}
	file, err := d.create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

func (d *directory) rename(from, to string) error {
	fd := int(d.Fd())
	if err := unix.Renameat(fd, from, fd, to); err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(d.Name(), from), New: filepath.Join(d.Name(), to), Err: err}
	}
	return nil
}

// remove removes a file, or a link itself, if there is one.
func (d *directory) remove(name string) error {
	if err := unix.Unlinkat(int(d.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: filepath.Join(d.Name(), name), Err: err}
	}
	return nil
}
