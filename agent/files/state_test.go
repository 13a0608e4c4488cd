package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func lock(t *testing.T, path string) *StateFile {
	t.Helper()
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Unlock)
	return f
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eni-agent", "state.json")
	f := lock(t, path)
	if _, ok, moved, err := f.read(); ok || moved != "" || err != nil {
		t.Errorf("before the first write: %v, %q, %v", ok, moved, err)
	}
	for _, cluster := range []string{"one", "two"} {
		if err := f.write(State{Cluster: cluster, Files: []File{file("a.yaml", "x@2")}}); err != nil {
			t.Fatal(err)
		}
		s, err := Read(path)
		if err != nil || s.Cluster != cluster || s.Kind != "NodeENIState" || s.Files[0].NodeENIs[0].Spec.DeviceIndex != 2 {
			t.Errorf("read %+v, %v", s, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Errorf("beside state and lock there is something in %v, %v", entries, err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := f.Remove(); err != nil {
		t.Error("a second time:", err)
	}
}

// Root runs eni-agent cleanup, and is interrupted; the service has another user.
func TestStateFileOfRootInDirectoryOfOther(t *testing.T) {
	const other = 1
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.Chown(filepath.Dir(path), other, other); err != nil {
		t.Skip("only root, with other users beside it, can have this: ", err)
	}
	if err := lock(t, path).write(State{}); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".lock"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != other {
			t.Errorf("%s belongs to user %d, want %d", file, owner, other)
		}
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if life, err := Look(path, time.Now()); life.Running || err != nil {
		t.Errorf("in use before anything is there: %v, %v", life, err)
	}
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if life, err := Look(path, time.Now()); !life.Running || err != nil {
		t.Errorf("in use while it is locked: %v, %v", life, err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrInUse) {
		t.Errorf("locked twice: %v", err)
	}
	f.Unlock()
	if life, err := Look(path, time.Now()); life.Running || err != nil {
		t.Errorf("in use afterwards: %v, %v", life, err)
	}
	lock(t, path)
}

// A state file that is damaged does not stop the agent, and is not lost.
func TestDamagedState(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"cut off":            `{"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENIState", "status": {"ins`,
		"zeroes":             strings.Repeat("\x00", 100),
		"something else":     `{"apiVersion": "v1", "kind": "Node"}`,
		"of another type":    `[1, 2]`,
		"a text as a list":   `{"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENIState", "files": "a"}`,
		"of another version": `{"apiVersion": "networking.k8s.aws/v9", "kind": "NodeENIState"}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			write(t, path, text)
			f := lock(t, path)
			_, ok, moved, err := f.read()
			if ok || moved == "" || err != nil {
				t.Fatalf("got %v, %q, %v", ok, moved, err)
			}
			if data, err := os.ReadFile(moved); err != nil || string(data) != text {
				t.Errorf("moved aside is %q, %v", data, err)
			}
			if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

// A write that fails leaves the last state as it was.
func TestFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	f := lock(t, path)
	if err := f.write(State{Cluster: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o755); err != nil { // also root cannot write to it
		t.Fatal(err)
	}
	if err := f.write(State{Cluster: "two"}); err == nil {
		t.Fatal("a write that could not be done reports success")
	}
	if s, err := Read(path); err != nil || s.Cluster != "one" {
		t.Errorf("read %+v, %v", s, err)
	}
}

func TestStateOfOthers(t *testing.T) {
	enis := []v1alpha1.ENIState{{ENIID: "eni-1"}}
	for _, test := range []struct {
		name  string
		state State
		kept  bool
		err   string
	}{
		{"ours", State{Cluster: "c", Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1", ENIs: enis}}, true, ""},
		{"before the first report", State{Cluster: "c", Files: []File{file("a", "x")}}, true, ""},
		{"of another instance", State{Cluster: "c", Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-2", ENIs: enis}}, false, ""},
		{"of another cluster", State{Cluster: "d", Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1", ENIs: enis}}, false, "--cluster-name d"},
		{"of another cluster, without ENIs", State{Cluster: "d", Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1"}}, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := lock(t, filepath.Join(t.TempDir(), "state.json"))
			if err := f.write(test.state); err != nil {
				t.Fatal(err)
			}
			s, err := open(f, "i-1", "c", quiet)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if kept := s.Cluster != ""; err != nil || kept != test.kept {
				t.Errorf("kept %v, %v", kept, err)
			}
		})
	}
}
