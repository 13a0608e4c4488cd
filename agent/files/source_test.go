package files

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var quiet = slog.New(slog.DiscardHandler)

// patience is how long what must happen may take.
const patience = 30 * time.Second

// rig is a Source that follows a directory.
type rig struct {
	*Source
	t    *testing.T
	dir  string
	path string // of the state file
	stop func()
}

func start(t *testing.T, dir, path string) *rig {
	t.Helper()
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Directory: dir, StateFile: f, Node: "i-1", InstanceID: "i-1", Cluster: "c", Labels: map[string]string{"ng": "multi-eni"}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	r := &rig{Source: s, t: t, dir: dir, path: path, stop: sync.OnceFunc(func() {
		cancel()
		running.Wait()
		f.Unlock()
	})}
	t.Cleanup(r.stop)
	return r
}

// newRig starts a Source on a directory that is there.
func newRig(t *testing.T) *rig {
	t.Helper()
	return start(t, t.TempDir(), filepath.Join(t.TempDir(), "state.json"))
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	write(r.t, filepath.Join(r.dir, name), text)
}

func (r *rig) remove(name string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

// names are those of the NodeENIs that count, or "not ready".
func (r *rig) names() string {
	s, ok := r.Snapshot()
	if !ok {
		return "not ready"
	}
	var all []string
	for _, n := range s.NodeENIs {
		all = append(all, n.Name)
	}
	return strings.Join(all, " ")
}

func (r *rig) await(want string) {
	r.t.Helper()
	for end := time.Now().Add(patience); r.names() != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%q count, want %q", r.names(), want)
		}
	}
}

// stays checks for longer than a loss takes to be believed that these count.
func (r *rig) stays(want string) {
	r.t.Helper()
	for end := time.Now().Add(settleLoss + time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got := r.names(); got != want {
			r.t.Fatalf("%q count, want %q", got, want)
		}
	}
}

// problem waits until a file has an error that holds the words; "" for none.
func (r *rig) problem(name, words string) {
	r.t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		s, err := Read(r.path)
		if err != nil {
			continue
		}
		for _, f := range s.Files {
			if f.Name != name {
				continue
			}
			if last = f.Error; last == words || words != "" && strings.Contains(last, words) {
				return
			}
		}
	}
	r.t.Fatalf("the error of %s is %q, want %q", name, last, words)
}

func TestFilesComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.await("")
	r.write("b.yaml", manifest("v", ""))
	r.write("a.yaml", manifest("z", "")+"---\n"+manifest("x", ""))
	r.await("v x z")
	r.write("a.yaml", manifest("x", ""))
	r.await("v x")
	r.remove("b.yaml")
	r.await("x")
	r.write("a.yaml", manifest("x", "  mtu: 9001"))
	before, _ := r.Snapshot()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		now, _ := r.Snapshot()
		if n := now.NodeENIs[0]; n.Spec.MTU == 9001 && n.UID == before.NodeENIs[0].UID && n.Generation != before.NodeENIs[0].Generation {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the change does not show in %+v", now.NodeENIs[0])
		}
	}
}

// A slip of the pen takes nothing away, across restarts too, and stops no other.
func TestBadFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", manifest("x", "  deviceIndex: 2"))
	r.write("b.yaml", manifest("v", ""))
	r.await("v x")
	r.write("a.yaml", strings.Replace(manifest("x", ""), "subnetIDs", "subnetIds", 1))
	r.write("c.yaml", manifest("z", ""))
	r.await("v x z")
	r.problem("a.yaml", `document 1 (line 1): strict decoding error: unknown field "spec.subnetIds"`)
	r.stop()
	r = start(t, r.dir, r.path)
	r.await("v x z")
	r.write("a.yaml", manifest("x", "  deviceIndex: 3"))
	r.problem("a.yaml", "cannot be changed from 2 to 3")
	r.remove("b.yaml")
	r.await("x z")
	r.write("a.yaml", manifest("x", "  deviceIndex: 2"))
	r.problem("a.yaml", "")
	r.remove("a.yaml")
	r.await("z")
}

// Editors write in steps, between which nothing must be believed.
func TestEditors(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*rig){
		"a new file is renamed over the old one": func(r *rig) {
			r.write("new", manifest("x", "  mtu: 9001"))
			if err := os.Rename(filepath.Join(r.dir, "new"), filepath.Join(r.dir, "a.yaml")); err != nil {
				r.t.Fatal(err)
			}
		},
		"the old one is renamed away first": func(r *rig) {
			if err := os.Rename(filepath.Join(r.dir, "a.yaml"), filepath.Join(r.dir, "a.yaml~")); err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(settle + settlePoll)
			r.write("a.yaml", manifest("x", "  mtu: 9001"))
			r.remove("a.yaml~")
		},
		"it is emptied and filled": func(r *rig) {
			r.write("a.yaml", "")
			time.Sleep(settle + 2*settlePoll)
			r.write("a.yaml", manifest("x", "  mtu: 9001"))
		},
		"it is written in pieces": func(r *rig) {
			text := manifest("x", "  mtu: 9001")
			for i := range text {
				if i%40 == 0 {
					r.write("a.yaml", text[:i])
					time.Sleep(settlePoll / 2)
				}
			}
			r.write("a.yaml", text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.write("a.yaml", manifest("x", ""))
			r.await("x")
			done := make(chan struct{})
			go func() {
				defer close(done)
				edit(r)
			}()
			mtu := func() int32 {
				s, _ := r.Snapshot()
				if len(s.NodeENIs) != 1 {
					r.t.Fatalf("%q count in between", r.names())
				}
				return s.NodeENIs[0].Spec.MTU
			}
			for end := time.Now().Add(patience); mtu() != 9001; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the change does not show")
				}
			}
			<-done
			r.problem("a.yaml", "")
		})
	}
}

// A ConfigMap's files are links to links to a directory that is swapped.
func TestSymlinkSwap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	at := func(name string) string { return filepath.Join(r.dir, name) }
	version := func(name, text string) {
		if err := errors.Join(os.Mkdir(at(name), 0o755), os.WriteFile(at(name+"/a.yaml"), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", manifest("x", ""))
	if err := errors.Join(os.Symlink("..1", at("..data")), os.Symlink("..data/a.yaml", at("a.yaml"))); err != nil {
		t.Fatal(err)
	}
	r.await("x")
	version("..2", manifest("x", "")+"---\n"+manifest("v", ""))
	if err := errors.Join(os.Symlink("..2", at("..data_tmp")), os.Rename(at("..data_tmp"), at("..data")), os.RemoveAll(at("..1"))); err != nil {
		t.Fatal(err)
	}
	r.await("v x")
}

// A directory may come late. One that goes takes nothing with it, one that is
// there and empty does.
func TestDirectoryComesAndGoes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etc", "nodeeni.d")
	r := start(t, dir, filepath.Join(t.TempDir(), "state.json"))
	r.stays("not ready")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("a.yaml", manifest("x", ""))
	r.await("x")
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	r.stays("x")
	r.stop()
	r = start(t, dir, r.path)
	r.await("x")
	if s, err := Read(r.path); err != nil || !strings.Contains(s.Problem, "does not exist") {
		t.Errorf("the state says %q, %v", s.Problem, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.await("")
	r.write("b.yaml", manifest("v", "")) // the new directory is watched
	r.await("v")
	if s, err := Read(r.path); err != nil || s.Problem != "" {
		t.Errorf("the state says %q, %v", s.Problem, err)
	}
}

// A directory that is made again at once is watched, whatever number its inode has.
func TestDirectoryMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", manifest("x", ""))
	r.await("x")
	for _, name := range []string{"v", "w", "z"} {
		if err := errors.Join(os.RemoveAll(r.dir), os.Mkdir(r.dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		r.await("")
		began := time.Now()
		r.write("a.yaml", manifest(name, ""))
		r.await(name)
		if took := time.Since(began); took > pollEvery/2 {
			t.Errorf("a new file was noticed after %v", took)
		}
	}
}

// Without a state file, ENIs whose NodeENI is not known are held for as
// long as a file may hold it.
func TestNothingKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "typo")
	write(t, filepath.Join(dir, "b.yaml"), manifest("v", ""))
	r := start(t, dir, filepath.Join(t.TempDir(), "state.json"))
	r.await("v")
	if s, _ := r.Snapshot(); !s.Incomplete || s.Deleted[UID("x")] {
		t.Errorf("the snapshot is %+v", s)
	}
	r.remove("b.yaml")
	r.await("")
	if s, _ := r.Snapshot(); !s.Incomplete || !s.Deleted[UID("v")] || s.Deleted[UID("x")] {
		t.Errorf("the snapshot is %+v", s)
	}
	r.remove("a.yaml")
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if s, _ := r.Snapshot(); !s.Incomplete {
			return
		}
		if time.Now().After(end) {
			t.Fatal("what is not known is held though no file is wrong")
		}
	}
}

func TestReportIsKept(t *testing.T) {
	r := newRig(t)
	report := v1alpha1.NodeENIStateStatus{InstanceID: "i-1", Zone: "us-east-1a", ENIs: []v1alpha1.ENIState{{NodeENI: "x", ENIID: "eni-1", Phase: v1alpha1.PhaseReady}}}
	if err := r.Save(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = start(t, r.dir, r.path)
	if got, err := r.Load(t.Context()); err != nil || len(got.ENIs) != 1 || got.ENIs[0].ENIID != "eni-1" {
		t.Errorf("loaded %+v, %v", got, err)
	}
}

// The UID of a name is part of the tags of every ENI that was ever made for it.
func TestUID(t *testing.T) {
	if got := UID("data"); got != "e4b3ff0a-b2fb-5632-8a93-980ed4d7a852" {
		t.Errorf("the UID of data has become %s", got)
	}
}

func TestTell(t *testing.T) {
	var out bytes.Buffer
	s := &Source{cfg: Config{Log: slog.New(slog.NewTextHandler(&out, nil))}}
	s.tell([]File{file("a", "x"), file("b", "y"), {Name: "c", Error: "wrong"}, file("d", "z")},
		[]File{file("a", "x"), {Name: "b", Error: "wrong", NodeENIs: nodeENIs("y")}, {Name: "c", Error: "wrong"}, file("e", "w")})
	var got []string
	for line := range strings.Lines(out.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "level=")
		got = append(got, text)
	}
	want := []string{
		`WARN msg="a NodeENI file is not valid; using its last valid contents" file=b error=wrong nodeENIs=[y]`,
		`INFO msg="read a NodeENI file" file=e nodeENIs=[w]`, `INFO msg="a NodeENI file was removed" file=d nodeENIs=[z]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
