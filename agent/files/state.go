package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// State is what the state file holds: the agent's report, in the form of the
// object that it is in a cluster, and what the files held when they were last
// good.
type State struct {
	APIVersion string                      `json:"apiVersion"`
	Kind       string                      `json:"kind"`
	Metadata   Metadata                    `json:"metadata"`
	Cluster    string                      `json:"cluster"` // of the ENIs' cluster tag
	Status     v1alpha1.NodeENIStateStatus `json:"status"`
	// Directory is where the files are; Problem says why it cannot be read.
	Directory string `json:"directory,omitempty"`
	Problem   string `json:"problem,omitempty"`
	Files     []File `json:"files,omitempty"`
	// Gone are the NodeENIs that were removed while what a file once held is
	// unknown.
	Gone []string `json:"gone,omitempty"`
}

// Metadata has the node's name, as in the object.
type Metadata struct {
	Name string `json:"name"`
}

// File is one file of the directory.
type File struct {
	Name string `json:"name"`
	// Error says what is wrong with the file. It then counts for what it held
	// before.
	Error string `json:"error,omitempty"`
	// Unknown: it is wrong, and what it held before is not known.
	Unknown  bool      `json:"unknown,omitempty"`
	NodeENIs []NodeENI `json:"nodeENIs,omitempty"`
}

// NodeENI is what counts of a NodeENI in a file.
type NodeENI struct {
	Name string               `json:"name"`
	Spec v1alpha1.NodeENISpec `json:"spec"`
}

// DefaultCluster is the value of the cluster tag of ENIs that stand-alone agents
// make.
const DefaultCluster = "standalone"

// kind is the kind of the state, as the CRD has it.
const kind = "NodeENIState"

// ErrInUse says that an agent holds the state file.
var ErrInUse = errors.New("another eni-agent is using it")

// StateFile is a state file that this process alone writes.
type StateFile struct {
	path      string
	directory *directory
	lock      *os.File
	// quiet: the lock has other names, so it may be a file of somebody else's, and
	// nothing is written to it.
	quiet bool
}

// lockPatience is how long to wait for the lock: eni-agent status takes it for
// an instant.
const lockPatience = 2 * time.Second

// Lock takes the state file for this process, and makes its directory. The error
// is ErrInUse when another one has it.
func Lock(path string) (*StateFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create the directory of the state file: %w", err)
	}
	directory, err := openDirectory(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("create the directory of the state file: %w", err)
	}
	f := &StateFile{path: path, directory: directory}
	// Its own file, because the state file is another one after each change.
	f.lock, err = directory.openOrCreate(lockName(path))
	if err != nil {
		directory.Close()
		return nil, fmt.Errorf("open the lock of the state file: %w", err)
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		err = unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			f.quiet = !hasOneName(f.lock)
			f.say(nil) // the agent before it is gone, and what it said with it
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			break
		}
	}
	f.Unlock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("state file %s: %w", path, ErrInUse)
	}
	return nil, fmt.Errorf("lock %s.lock: %w", path, err)
}

func lockName(path string) string { return filepath.Base(path) + ".lock" }

// openIn opens a file of the directory that path is in.
func openIn(path, name string) (*os.File, error) {
	directory, err := openDirectory(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	return directory.open(name, unix.O_RDONLY)
}

// Unlock lets others have the state file.
func (f *StateFile) Unlock() {
	f.lock.Close()
	f.directory.Close()
}

// Remove deletes the state file and its lock, which this process keeps.
func (f *StateFile) Remove() error {
	return errors.Join(f.directory.remove(filepath.Base(f.path)), f.directory.remove(lockName(f.path)))
}

// maxState bounds what is read of a state file. One of 128 ENIs and as many NodeENIs
// is far smaller.
const maxState = 16 << 20

// Read reads a state file. The error is fs.ErrNotExist when there is none.
func Read(path string) (State, error) {
	file, err := openIn(path, filepath.Base(path))
	if err != nil {
		return State{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return State{}, err
	}
	if len(data) > maxState {
		return State{}, &CorruptError{path, fmt.Errorf("it is larger than %d MiB", maxState>>20)}
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, &CorruptError{path, err}
	}
	if s.APIVersion != v1alpha1.GroupVersion.String() || s.Kind != kind {
		return State{}, &CorruptError{path, fmt.Errorf("its kind is %q in %q, but must be %s in %s", s.Kind, s.APIVersion, kind, v1alpha1.GroupVersion)}
	}
	s.clean()
	return s, nil
}

// clean makes everything printable: root's terminal shows what the service's user
// wrote.
func (s *State) clean() {
	s.Status.Clip()
	texts := []*string{&s.Metadata.Name, &s.Cluster, &s.Directory, &s.Problem}
	for i := range s.Files {
		texts = append(texts, &s.Files[i].Name, &s.Files[i].Error)
		for j := range s.Files[i].NodeENIs {
			texts = append(texts, &s.Files[i].NodeENIs[j].Name)
		}
	}
	for _, text := range texts {
		*text = v1alpha1.Printable(*text)
	}
}

// CorruptError says that a state file is there and holds no state.
type CorruptError struct {
	Path string
	Err  error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("state file %s is damaged: %v", e.Path, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// read reads the state. One that is damaged is moved aside, to where moved says:
// EC2 and the files show again what it showed. ok is false when nothing is left
// from before.
func (f *StateFile) read() (s State, ok bool, moved string, err error) {
	s, err = Read(f.path)
	var corrupt *CorruptError
	switch {
	case err == nil:
		return s, true, "", nil
	case errors.Is(err, fs.ErrNotExist):
		return State{}, false, "", nil
	case errors.As(err, &corrupt):
		moved = f.path + ".damaged"
		if err := f.directory.rename(filepath.Base(f.path), filepath.Base(moved)); err != nil {
			return State{}, false, "", fmt.Errorf("%w; cannot move it aside: %w", corrupt, err)
		}
		return State{}, false, moved, nil
	}
	return State{}, false, "", fmt.Errorf("read the state file: %w", err)
}

// write replaces the state file by one that holds the state, so that at every
// moment, and after a crash or a power failure, the old or the new one is there.
func (f *StateFile) write(s State) error {
	s.APIVersion, s.Kind = v1alpha1.GroupVersion.String(), kind
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Base(f.path)
	if err := f.directory.writeSynced(name+".new", append(data, '\n')); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	if err := f.directory.rename(name+".new", name); err != nil {
		return fmt.Errorf("replace the state file: %w", err)
	}
	return f.directory.Sync() // or a power failure undoes the rename
}
