package files

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// serviceDirectory is a directory that belongs to a service's user where the test may
// have that, and to whoever runs it otherwise.
func serviceDirectory(t *testing.T) (path string, user uint32) {
	t.Helper()
	path = t.TempDir()
	if os.Chown(path, 1, 1) == nil {
		return path, 1
	}
	return path, uint32(os.Geteuid())
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// What the service's user has put into the place of its files costs nothing elsewhere:
// not the content, not the owner, and no time.
func TestPlantedFiles(t *testing.T) {
	const text = "of another user"
	plants := map[string]func(victim, path string) error{
		"a symbolic link": os.Symlink,
		"a hard link":     os.Link,
		"a FIFO":          func(_, path string) error { return unix.Mkfifo(path, 0o666) },
		"a directory":     func(_, path string) error { return os.Mkdir(path, 0o777) },
		"a socket": func(_, path string) error {
			return unix.Mknod(path, unix.S_IFSOCK|0o666, 0)
		},
		"a link to nothing": func(victim, path string) error { return os.Symlink(victim+".none", path) },
		"a link to itself":  func(_, path string) error { return os.Symlink(filepath.Base(path), path) },
	}
	for what, plant := range plants {
		for _, suffix := range []string{"", ".lock", ".new", ".damaged"} {
			t.Run(what+" as state.json"+suffix, func(t *testing.T) {
				victim := filepath.Join(t.TempDir(), "victim")
				write(t, victim, text)
				mine := ownerOf(t, victim)
				directory, _ := serviceDirectory(t)
				path := filepath.Join(directory, "state.json")
				if err := plant(victim, path+suffix); err != nil {
					t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					useState(path)
				}()
				select {
				case <-done:
				case <-time.After(30 * time.Second):
					t.Fatal("it waits for ever")
				}
				if data, err := os.ReadFile(victim); err != nil || string(data) != text || ownerOf(t, victim) != mine {
					t.Errorf("the other file holds %q (%v) and belongs to user %d, not %d", data, err, ownerOf(t, victim), mine)
				}
				if _, err := os.Lstat(victim + ".none"); err == nil {
					t.Error("the file that the link names has been made")
				}
			})
		}
	}
}

// useState does all that root does with a state file, whatever fails of it.
func useState(path string) {
	Read(path)             //nolint:errcheck // what matters is what it does elsewhere
	Look(path, time.Now()) //nolint:errcheck // likewise
	f, err := Lock(path)
	if err != nil {
		return
	}
	defer f.Unlock()
	f.read()                        //nolint:errcheck // likewise
	f.write(State{Cluster: "mine"}) //nolint:errcheck // likewise
	f.Remove()                      //nolint:errcheck // likewise
}

// A link in the place of the temporary file is replaced, and what a crash has left too.
func TestLeftTemporaryFile(t *testing.T) {
	directory, user := serviceDirectory(t)
	path := filepath.Join(directory, "state.json")
	for _, plant := range []func() error{
		func() error { return os.Symlink("/dev/null", path+".new") },
		func() error { return os.WriteFile(path+".new", []byte("half a sta"), 0o600) },
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		f := lock(t, path)
		if err := f.write(State{Cluster: "one"}); err != nil {
			t.Fatal(err)
		}
		if s, err := Read(path); err != nil || s.Cluster != "one" || ownerOf(t, path) != user {
			t.Errorf("read %+v, %v, of user %d", s, err, ownerOf(t, path))
		}
		f.Unlock()
	}
}

// The directory that was locked is the one that is written to, whatever takes its
// place.
func TestDirectoryIsReplaced(t *testing.T) {
	parent, elsewhere := t.TempDir(), t.TempDir()
	path := filepath.Join(parent, "eni-agent", "state.json")
	f := lock(t, path)
	if err := os.Rename(filepath.Dir(path), filepath.Join(parent, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := f.write(State{Cluster: "one"}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) > 0 {
		t.Errorf("the other directory has %v, %v", entries, err)
	}
	if s, err := Read(filepath.Join(parent, "moved", "state.json")); err != nil || s.Cluster != "one" {
		t.Errorf("read %+v, %v", s, err)
	}
}

func TestWhatIsReadIsBoundedAndPrintable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	f := lock(t, path)
	bad := "\x1b[2J\nforged"
	if err := f.write(State{
		Metadata: Metadata{Name: bad}, Cluster: bad, Directory: bad, Problem: bad,
		Status: v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{{Message: bad, InterfaceName: bad}}},
		Files:  []File{{Name: bad, Error: bad, NodeENIs: []NodeENI{{Name: bad}}}},
	}); err != nil {
		t.Fatal(err)
	}
	s, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	e, file := s.Status.ENIs[0], s.Files[0]
	for _, text := range []string{s.Metadata.Name, s.Cluster, s.Directory, s.Problem, e.Message, e.InterfaceName, file.Name, file.Error, file.NodeENIs[0].Name} {
		if strings.ContainsAny(text, "\x1b\n") {
			t.Errorf("it shows %q", text)
		}
	}
	if err := os.Truncate(path, maxState+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("reading too much: %v", err)
	}
}

// While the disk is waited for the loop goes on, and sees what is being saved; the
// last state is what is on the disk in the end.
func TestTheLoopDoesNotWaitForTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	s, err := New(Config{StateFile: lock(t, path), Node: "node", InstanceID: "i-1", Cluster: "c", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.saving.Lock() // a write that does not end
	var saves sync.WaitGroup
	for range 2 {
		saves.Go(func() {
			if err := s.Save(t.Context(), v1alpha1.NodeENIStateStatus{InstanceID: "i-1"}); err != nil {
				t.Error(err)
			}
		})
	}
	saves.Go(func() {
		s.keep(func(state *State) { state.Files = []File{file("a.yaml", "x@2")} })
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		passed := make(chan int, 1)
		go func() {
			snapshot, _ := s.Snapshot()
			passed <- len(snapshot.NodeENIs)
		}()
		select {
		case n := <-passed:
			if n == 1 {
				s.saving.Unlock()
				saves.Wait()
				if stored, err := Read(path); err != nil || len(stored.Files) != 1 || stored.Status.InstanceID != "i-1" {
					t.Errorf("stored %+v, %v", stored, err)
				}
				return
			}
		case <-time.After(time.Until(end)):
			t.Fatal("a pass waits for the disk")
		}
	}
}
