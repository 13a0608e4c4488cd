package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// Node is a node with containerd and a kubelet, which run pods. Its processes are in the
// network namespace of an instance of the simulator, and in a PID and a mount namespace of
// their own, with an empty /run, /var/lib, and /var/log. All of them end with this process.
type Node struct {
	Name string

	tb       *Testbed
	instance sim.Node
	dir      string // its configuration
	cgroup   string // below which its pods are
	runtime  string // directory of containerd and runc
	holder   *Process
	running  map[string]*Process
}

// CannotRunNodes is why there can be no Node on this machine, nil if there can be.
func CannotRunNodes() error {
	if netns.InUserNamespace() {
		return errors.New("containerd and kubelet need root, outside of a user namespace")
	}
	for _, name := range []string{"kubelet", "runtime/containerd", "runtime/runc"} {
		if _, err := controlplane.Program(name); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		return fmt.Errorf("the kubelet reads the kernel's log: %w", err)
	}
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	probe := filepath.Join(hierarchies[0], fmt.Sprint("aws-multi-eni-probe-", os.Getpid()))
	if err := os.Mkdir(probe, 0o755); err != nil {
		return fmt.Errorf("pods need cgroups: %w", err)
	}
	return os.Remove(probe)
}

// cgroupHierarchies are where the controllers of cgroups are mounted: one directory for all
// in version 2, and one for each in version 1.
func cgroupHierarchies() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	all, err := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	for i := range all {
		all[i] = filepath.Dir(all[i])
	}
	if len(all) == 0 {
		err = errors.Join(err, fmt.Errorf("there are no cgroups in %s", root))
	}
	return all, err
}

// prepareNode is run by the first process of a node.
const prepareNode = `set -e
umount --recursive --lazy /run/netns 2>/dev/null || true # those of others, which would stay
mount --make-rshared /
mount -t proc proc /proc
for dir in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $dir; done
# The kubelet sets sysctls of the whole machine. Those of the node's network stay writable.
mkdir -p /run/sysctl-net /var/lib/kubelet/plugins_registry
mount --bind /proc/sys/net /run/sysctl-net
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /run/sysctl-net /proc/sys/net
touch "$1"
sleep infinity & wait
`

// StartNode starts containerd and a kubelet on an instance, which registers the Node with
// the labels. The images are archives as of WriteImage.
func (tb *Testbed) StartNode(ctx context.Context, name, labels string, images ...string) (*Node, error) {
	instance, err := tb.Sim.Node(name)
	if err != nil {
		return nil, err
	}
	runc, err := controlplane.Program("runtime/runc")
	if err != nil {
		return nil, err
	}
	n := &Node{
		Name: name, tb: tb, instance: instance, dir: filepath.Join(tb.cfg.Dir, name), runtime: filepath.Dir(runc),
		cgroup: fmt.Sprintf("aws-multi-eni-%d-%s", os.Getpid(), name), running: map[string]*Process{},
	}
	if err := n.start(ctx, labels, images); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, labels string, images []string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := n.hold(ctx); err != nil {
		return err
	}
	if err := n.makeCgroup(); err != nil {
		return err
	}
	if err := n.configure(labels); err != nil {
		return err
	}
	if err := n.StartContainerd(ctx); err != nil {
		return err
	}
	for i, image := range images {
		if err := n.run(ctx, fmt.Sprint("import-", i), filepath.Join(n.runtime, "ctr"), "--namespace=k8s.io", "images", "import", "--local", image); err != nil {
			return err
		}
	}
	return n.StartKubelet()
}

// hold starts the process that has the node's namespaces.
func (n *Node) hold(ctx context.Context) (err error) {
	ready := filepath.Join(n.dir, "ready")
	n.holder, err = StartProcess(n.Name, n.tb.cfg.Dir, os.Environ(), "nsenter", "--net="+n.instance.Namespace.Path(),
		"unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "sh", "-c", prepareNode, "sh", ready)
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		_, err := os.Stat(ready)
		return err == nil, n.holder.Check()
	})
}

// makeCgroup makes the cgroup of all pods of the node.
func (n *Node) makeCgroup() error {
	hierarchies, err := cgroupHierarchies()
	for _, dir := range hierarchies {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, n.cgroup), 0o755))
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // version 1 does not inherit them
			if value, e := os.ReadFile(filepath.Join(dir, file)); e == nil && filepath.Base(dir) == "cpuset" {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, n.cgroup, file), value, 0o600))
			}
		}
	}
	return err
}

// removeCgroup removes it, once its processes have ended.
func (n *Node) removeCgroup(ctx context.Context) error {
	hierarchies, err := cgroupHierarchies()
	for _, dir := range hierarchies {
		e := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
			var below []string
			_ = filepath.WalkDir(filepath.Join(dir, n.cgroup), func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					below = append(below, path)
				}
				return nil
			})
			for _, path := range slices.Backward(below) {
				_ = unix.Rmdir(path)
			}
			return len(below) == 0, nil
		})
		if e != nil {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s in %s: %w", n.cgroup, dir, e))
		}
	}
	return err
}

const containerdConfig = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '` + ApplianceImage + `'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['%s']
conf_dir = '%s'
use_internal_loopback = true
`

// podNetwork gives pods their first interface.
const podNetwork = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.244.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
featureGates: {KubeletInUserNamespace: true} # it goes on without sysctls that it cannot set
cgroupDriver: cgroupfs
cgroupRoot: /%s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi}
makeIPTablesUtilChains: false
clusterDNS: [192.0.2.53] # there is none, and pods need none
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
providerID: %s
`

func (n *Node) configure(labels string) error {
	cfg, err := n.tb.ControlPlane.UserConfig("system:node:"+n.Name, "system:nodes")
	if err != nil {
		return err
	}
	service, _ := n.tb.Sim.Service(n.tb.service)
	cfg.Host = "https://" + service.Address.String()
	if err := controlplane.WriteKubeconfig(n.file("kubeconfig"), cfg); err != nil {
		return err
	}
	for path, content := range map[string]string{
		"containerd.toml":        fmt.Sprintf(containerdConfig, filepath.Join(n.tb.cfg.Programs, "cni"), n.file("net.d")),
		"net.d/10-pods.conflist": podNetwork,
		"kubelet.yaml":           fmt.Sprintf(kubeletConfig, n.cgroup, n.instance.ProviderID()),
		"labels":                 labels,
	} {
		if err := os.MkdirAll(filepath.Dir(n.file(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.file(path), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) file(name string) string { return filepath.Join(n.dir, name) }

// StartContainerd starts containerd, and returns when it answers.
func (n *Node) StartContainerd(ctx context.Context) error {
	p, err := n.enter("containerd", filepath.Join(n.runtime, "containerd"), "--config="+n.file("containerd.toml"))
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return n.run(ctx, "ctr", filepath.Join(n.runtime, "ctr"), "--connect-timeout=1s", "version") == nil, p.Check()
	})
}

// StartKubelet starts the kubelet.
func (n *Node) StartKubelet() error {
	program, err := controlplane.Program("kubelet")
	if err != nil {
		return err
	}
	labels, err := os.ReadFile(n.file("labels"))
	if err != nil {
		return err
	}
	_, err = n.enter("kubelet", program, "--config="+n.file("kubelet.yaml"), "--kubeconfig="+n.file("kubeconfig"),
		"--hostname-override="+n.Name, "--node-ip="+n.instance.PrivateIP.String(), "--node-labels="+string(labels))
	return err
}

// enter starts a program in the node's namespaces.
func (n *Node) enter(name, program string, args ...string) (*Process, error) {
	env := []string{"PATH=" + n.runtime + ":" + os.Getenv("PATH"), "HOME=" + n.dir}
	p, err := StartProcess(n.Name+"-"+name, n.tb.cfg.Dir, env, "nsenter", append([]string{
		"--net=" + n.instance.Namespace.Path(), "--pid=" + n.namespace("pid_for_children"), "--mount=" + n.namespace("mnt"), program,
	}, args...)...)
	if err == nil {
		n.running[name] = p
	}
	return p, err
}

// run runs a program in the node's namespaces until it ends.
func (n *Node) run(ctx context.Context, name, program string, args ...string) error {
	p, err := n.enter(name, program, args...)
	if err != nil {
		return err
	}
	delete(n.running, name)
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Kill()
	}
	if p.err != nil {
		return fmt.Errorf("%s on %s: %w\n%s", program, n.Name, p.err, p.Tail(5))
	}
	return nil
}

func (n *Node) namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", n.holder.Pid(), kind)
}

// Path is where a file of the node is for others.
func (n *Node) Path(path string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", n.holder.Pid()), path)
}

// Pids are the ids of the node's processes that run a program, its containers' among them.
func (n *Node) Pids(program string) []int {
	own, err := os.Readlink(n.namespace("pid_for_children"))
	if err != nil {
		return nil
	}
	var pids []int
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		ns, _ := os.Readlink(filepath.Join(process, "ns", "pid"))
		cgroup, _ := os.ReadFile(filepath.Join(process, "cgroup")) // containers have PID namespaces of their own
		exe, _ := os.Readlink(filepath.Join(process, "exe"))
		ours := ns == own || strings.Contains(string(cgroup), n.cgroup+"/")
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil && ours && filepath.Base(exe) == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Kill kills a program of the node, in a container or not, as a crash does.
func (n *Node) Kill(program string) error {
	pids := n.Pids(program)
	if len(pids) == 0 {
		return fmt.Errorf("%s does not run on %s", program, n.Name)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	if p := n.running[program]; p != nil {
		<-p.done
	}
	return nil
}

// Logs are the ends of the logs of all programs of the node, in containers or not.
func (n *Node) Logs() string {
	var b strings.Builder
	for _, p := range n.running {
		fmt.Fprintf(&b, "%s:\n%s\n", p.Name, p.Tail(40))
	}
	logs, _ := filepath.Glob(n.Path("/var/log/pods/*/*/*.log"))
	for _, log := range logs {
		fmt.Fprintf(&b, "%s:\n%s\n", strings.TrimPrefix(log, n.Path("/var/log/pods")), (&Process{Log: log}).Tail(40))
	}
	return b.String()
}

// Stop ends all processes of the node, and leaves nothing of it.
func (n *Node) Stop() error {
	if n.holder != nil {
		n.holder.Kill() // and with it, the kernel kills everything in the PID namespace
	}
	for _, p := range n.running {
		p.Kill()
	}
	return n.removeCgroup(context.Background())
}
