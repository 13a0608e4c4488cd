package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// mainEnv makes this test binary be the program itself.
const mainEnv = "ENI_SIM_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	return cmd
}

// simulator starts the program and returns it with its admin URL, once it has
// printed everything.
func simulator(t *testing.T, credential *syscall.Credential, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := program(append(args, "--ec2-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--timing=instant")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var admin string
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if url, ok := strings.CutPrefix(lines.Text(), "Admin endpoint: "); ok {
			admin = url
		}
	}
	if admin == "" {
		t.Fatal("the simulator printed no admin endpoint")
	}
	return cmd, admin
}

func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestExec(t *testing.T) {
	users := map[string]*syscall.Credential{"this user": nil}
	if os.Getuid() == 0 && !netns.InUserNamespace() {
		users["nobody"] = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	for name, credential := range users {
		t.Run(name, func(t *testing.T) {
			cmd, admin := simulator(t, credential, "--nodes=2")
			client := sim.NewClient(admin)
			for _, i := range must(client.Instances(t.Context()))(t) {
				inside := program("exec", "--admin", admin, i.Name, "--", "sh", "-c", "readlink /proc/self/ns/net; echo $AWS_ENDPOINT_URL_EC2; exit 3")
				inside.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
				out, _ := inside.CombinedOutput()
				if code := inside.ProcessState.ExitCode(); code != 3 {
					t.Fatalf("exit code %d: %s", code, out)
				}
				want := must(os.Readlink(i.Namespace))(t) + "\n" + must(client.Info(t.Context()))(t).NodeEC2URL + "\n"
				if string(out) != want {
					t.Errorf("on %s: %q, want %q", i.Name, out, want)
				}
			}
			inside := program("exec", "--admin", admin, "node-1", "--", "sh", "-c", "echo $AWS_PROFILE$AWS_ACCESS_KEY_ID$AWS_REGION; env | grep ^AWS_ENDPOINT")
			inside.Env = append(inside.Env, "AWS_PROFILE=mine", "AWS_ACCESS_KEY_ID=mine", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL_EC2=http://127.0.0.1:1")
			want := "us-east-1\nAWS_ENDPOINT_URL_EC2=" + must(client.Info(t.Context()))(t).NodeEC2URL + "\n"
			if out, err := inside.Output(); string(out) != want || err != nil {
				t.Errorf("environment on a node: %q, %v", out, err)
			}
			out, err := program("exec", "--admin", admin, "node-9", "--", "true").CombinedOutput()
			if err == nil || !strings.Contains(string(out), `no node "node-9", only node-1, node-2`) {
				t.Errorf("a node that is not there: %v %s", err, out)
			}
			stop(t, cmd)
			out, err = program("exec", "--admin", admin, "node-1", "--", "true").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "connection refused; is it running?") {
				t.Errorf("a simulator that is not there: %v %s", err, out)
			}
		})
	}
}

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestNoNetwork(t *testing.T) {
	cmd, admin := simulator(t, nil, "--no-network", "--nodes=1")
	i := must(sim.NewClient(admin).Instance(t.Context(), "node-1"))(t)
	if i.Namespace != "" || i.IMDS == "" || len(i.Env) != 2 {
		t.Errorf("%+v", i)
	}
	out, err := program("exec", "--admin", admin, "node-1", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--no-network") {
		t.Errorf("exec without network: %v %s", err, out)
	}
	stop(t, cmd)
}

func TestAddressInUse(t *testing.T) {
	_, admin := simulator(t, nil, "--no-network", "--nodes=1")
	out, err := program("--no-network", "--ec2-listen=127.0.0.1:0", "--admin-listen", strings.TrimPrefix(admin, "http://")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "address already in use; is another simulator running?") {
		t.Errorf("%v %s", err, out)
	}
}

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(file, []byte("nodes: [{name: a, type: c5.4xlarge}]\ntiming: {read: 5ms}\nthrottle: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		want func(sim.Config) bool
	}{
		{"", func(c sim.Config) bool {
			return len(c.Topology.Nodes) == 3 && *c.Topology.Timing == sim.RealisticTiming() && c.EC2Listen == "127.0.0.1:4566"
		}},
		{"--nodes 5 --node-type t3.small", func(c sim.Config) bool {
			return len(c.Topology.Nodes) == 5 && c.Topology.Nodes[4].Type == "t3.small"
		}},
		{"--timing instant --throttle", func(c sim.Config) bool { return c.Topology.Timing == nil && c.Topology.Throttle }},
		{"--config " + file, func(c sim.Config) bool {
			return len(c.Topology.Nodes) == 1 && c.Topology.Timing.Read == 5*time.Millisecond && c.Topology.Throttle
		}},
		{"--config " + file + " --timing realistic --nodes 2", func(c sim.Config) bool {
			return len(c.Topology.Nodes) == 2 && *c.Topology.Timing == sim.RealisticTiming()
		}},
		{"--forward api=127.0.0.1:6443 --forward x=[::1]:1", func(c sim.Config) bool {
			return len(c.Forward) == 2 && c.Forward[0] == sim.Service{Name: "api", Target: "127.0.0.1:6443"}
		}},
	} {
		if c, err := parse(strings.Fields(test.args)); err != nil || !test.want(c) {
			t.Errorf("%q: %+v, %v", test.args, c, err)
		}
	}
	for args, want := range map[string]string{
		"--nodes -1":                     "want 1 or more",
		"--timing slow":                  "want realistic or instant",
		"--config /nonexistent":          "no such file",
		"--forward api":                  "NAME=HOST:PORT",
		"run":                            `unexpected argument "run"`,
		"--node-type a --config " + file: "goes with --nodes",
	} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", args, err, want)
		}
	}
}
