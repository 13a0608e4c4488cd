package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/29"))
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		got  []string
		full int
	)
	for i := range 10 {
		pod := fmt.Sprint("pod", i)
		_, _, err := n.Sandbox(pod)
		n.must(err)
		wait.Go(func() {
			result, err := n.attach(pod)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got = append(got, addressesOf(result))
			case strings.Contains(err.Error(), "8 of 8 are in use"):
				full++
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	slices.Sort(got)
	if len(slices.Compact(got)) != 8 || full != 2 {
		t.Errorf("8 addresses went to pods as %s, and %d got none; want 2", got, full)
	}
}

// The delegate fails, here because the pod has an interface of this name already.
func TestDelegateFails(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/32"))
	_, err := n.add("pod1")
	n.must(err)
	// The attachment is lost, as by an administrator.
	n.must(os.Remove(filepath.Join(n.dir, "attachments", "pod1:net1.json")))
	_, err = n.attach("pod1")
	n.wants(err, "NodeENI storage on node n1: the plugin ptp could not attach default/pod1 to eni-1: ")
	if files := n.store(); len(files) > 0 {
		t.Errorf("there are %s after the ADD that failed", files)
	}
	_, err = n.attach("pod1")
	n.must(err)
}

func TestDelegateIsMissing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	_, err := n.add("pod1")
	n.must(err)
	_, _, err = n.Sandbox("pod2")
	n.must(err)

	there := n.Path
	n.Path = []string{t.TempDir()}
	n.must(os.Symlink(filepath.Join(bin, "eni"), filepath.Join(n.Path[0], "eni")))
	// The docs have this text.
	missing := `failed to find plugin "ptp" in path [` + n.Path[0] + "]; install the reference plugins of github.com/containernetworking/plugins on the node"
	_, err = n.attach("pod2")
	n.wants(err, missing)
	n.wants(n.GetStatusNetworkList(t.Context(), n.list("storage")), missing)
	// As long as the pod has the interface, it has the address.
	n.wants(n.del("pod1"), "the plugin ptp could not remove interface net1 of default/pod1, which still holds [10.0.0.16]")
	if got, want := strings.Join(n.store(), " "), "pod1:net1.json 10.0.0.16"; got != want {
		t.Errorf("there are %s, want %s", got, want)
	}
	n.must(n.RemoveSandbox("pod1"))
	n.must(n.del("pod1"))
	if files := n.store(); len(files) > 0 {
		t.Errorf("there are %s after DEL", files)
	}
	n.Path = there
	_, err = n.attach("pod2")
	n.must(err)
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/31"))
	_, err := n.add("pod1")
	n.must(err)
	file := filepath.Join(n.dir, "attachments", "pod1:net1.json")
	n.must(os.WriteFile(file, []byte("{"), 0o644))
	n.wants(n.del("pod1"), file)
	n.wants(n.gc(), file)
	// It keeps its address.
	result, err := n.add("pod2")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.17/24" {
		t.Errorf("pod2 has %s", got)
	}
	n.must(n.RemoveSandbox("pod1"))
	n.must(n.del("pod1"))

	n.must(os.WriteFile(filepath.Join(n.networks, "storage.json"), []byte(`{"nodeENI": "other"}`), 0o644))
	_, err = n.attach("pod1")
	n.wants(err, "storage.json belongs to another NodeENI, other")
	n.must(n.del("pod2"))
}

// After a reboot all pods are gone, whatever is at the paths of their namespaces now.
func TestReboot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/30"))
	for i := range 4 {
		_, err := n.add(fmt.Sprint("pod", i))
		n.must(err)
	}
	for i := range 3 {
		n.must(n.RemoveSandbox(fmt.Sprint("pod", i)))
	}
	attachments, err := podnetwork.Attachments(n.dir)
	n.must(err)
	file := filepath.Join(n.dir, "attachments", "pod3:net1.json")
	content, err := os.ReadFile(file)
	n.must(err)
	n.must(os.WriteFile(file, []byte(strings.ReplaceAll(string(content), attachments[3].Boot, "before")), 0o644))
	n.must(n.RemoveSandbox("pod3"))
	_, _, err = n.Sandbox("pod3") // in the new boot
	n.must(err)
	for i := range 4 {
		_, err := n.add(fmt.Sprint("new", i))
		n.must(err)
	}
	_, err = n.attach("pod3")
	n.wants(err, "4 of 4 are in use")
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/29"))
	runtime.LockOSThread() // The thread ends with the test: it has a mount of its own.
	n.onSmallDisk(func(free func(pages int)) {
		failed := 0
		for pages := range 8 {
			free(pages)
			pod := fmt.Sprint("pod", pages)
			before := n.store()
			if _, err := n.attach(pod); err == nil {
				continue
			} else if !strings.Contains(err.Error(), "no space left on device") {
				t.Errorf("with %d pages: %v", pages, err)
			}
			failed++
			if after := n.store(); !slices.Equal(before, after) {
				t.Errorf("with %d pages, an ADD that failed left %s behind; before there were %s", pages, after, before)
			}
			n.must(n.del(pod))
		}
		t.Logf("%d of 8 failed", failed)
		if failed == 0 || failed == 8 {
			t.Errorf("%d of 8 pods did not get an address", failed)
		}
		free(0)
		for pages := range 8 {
			n.must(n.del(fmt.Sprint("pod", pages)))
		}
		if files := n.store(); len(files) > 0 {
			t.Errorf("there are %s after all DELs", files)
		}
		free(30)
		for pages := range 8 {
			_, err := n.attach(fmt.Sprint("pod", pages))
			n.must(err)
		}
	})
}

// onSmallDisk has the plugin's files in a file system of which just so many pages are
// free. The thread must be locked.
func (n *node) onSmallDisk(test func(free func(pages int))) {
	for pages := range 8 {
		_, _, err := n.Sandbox(fmt.Sprint("pod", pages))
		n.must(err)
	}
	const pages, size = 32, 4096
	n.must(unix.Unshare(unix.CLONE_NEWNS))
	n.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	n.must(unix.Mount("small", n.dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*size)))
	n.Cleanup(func() { n.must(unix.Unmount(n.dir, 0)) })
	n.must(n.ns.With(func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) }))
	n.CNIConfig = libcni.NewCNIConfigWithCacheDir([]string{bin}, n.TempDir(), nil) // on this thread
	n.must(os.MkdirAll(filepath.Join(n.dir, "attachments"), 0o755))
	n.must(os.MkdirAll(filepath.Join(n.dir, "addresses"), 0o755))
	filler := filepath.Join(n.dir, "filler")
	test(func(left int) {
		if err := os.Remove(filler); !errors.Is(err, fs.ErrNotExist) {
			n.must(err)
		}
		var stat unix.Statfs_t
		n.must(unix.Statfs(n.dir, &stat))
		n.must(os.WriteFile(filler, make([]byte, (int(stat.Bfree)-left)*size), 0o644))
	})
}
