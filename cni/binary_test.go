package cni

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func TestBinary(t *testing.T) {
	t.Parallel()
	file := filepath.Join(bin, "eni")
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.2f MB", float64(len(program))/budget.MB)
	if size := float64(len(program)); size > budget.Plugin.Binary {
		t.Errorf("the plugin has %.2f MB, its budget is %.1f MB; see hack/bench/budget", size/budget.MB, budget.Plugin.Binary/budget.MB)
	}
	// A function's name is in a program that has the function, even when it is stripped.
	for name, want := range map[string]bool{
		"aws-multi-eni/cni.Add": true, "net/http.(*Transport).roundTrip": false, "crypto/tls.(*Conn).Handshake": false,
	} {
		if bytes.Contains(program, []byte(name)) != want {
			t.Errorf("the plugin has the function %s: %v, want %v", name, !want, want)
		}
	}
	parsed, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if libraries, err := parsed.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it is not static: %v, %v", libraries, err)
	}
	out, err := exec.Command("go", "list", "-deps", "../cmd/eni-cni").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dependency := range strings.FieldsSeq(string(out)) {
		for _, other := range []string{"github.com/aws/", "k8s.io/", "sigs.k8s.io/", "net/http", "go.opentelemetry.io/", "github.com/aws-multi-eni/aws-multi-eni/api", "github.com/aws-multi-eni/aws-multi-eni/agent"} {
			if strings.HasPrefix(dependency, other) {
				t.Errorf("the plugin links %s", dependency)
			}
		}
	}
	about, err := exec.Command(file).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(about), "CNI plugin eni "+Version+"\n") {
		t.Errorf("without a command it says %q, %v", about, err)
	}
}

// BenchmarkAdd times ADD without the delegate. In place of ptp there is static, which only
// answers, and the time that it takes by itself is subtracted.
func BenchmarkAdd(b *testing.B) {
	n := newNode(b)
	plugins := b.TempDir()
	for name, plugin := range map[string]string{"eni": "eni", "static": "static", "ptp": "static"} {
		n.must(os.Symlink(filepath.Join(bin, plugin), filepath.Join(plugins, name)))
	}
	n.Path = []string{plugins}
	n.offer(eniOf("10.0.0.64/26", "10.0.0.128/26"))
	for i := range 100 {
		_, err := n.add(fmt.Sprint("pod", i))
		n.must(err)
	}
	_, _, err := n.Sandbox("one")
	n.must(err)
	a, err := podnetwork.ReadAttachment(n.dir, "pod0", "net1")
	n.must(err)
	delegate, err := libcni.NetworkPluginConfFromBytes(a.Delegate)
	n.must(err)

	var all, alone []time.Duration
	for b.Loop() {
		start := time.Now()
		_, err := n.attach("one")
		all = append(all, time.Since(start))
		n.must(err)
		n.must(n.del("one"))

		start = time.Now()
		_, err = n.AddNetwork(b.Context(), delegate, n.Attachment("one", "net2"))
		alone = append(alone, time.Since(start))
		n.must(err)
	}
	slices.Sort(all)
	slices.Sort(alone)
	for _, percent := range []int{50, 99} {
		i := len(all) * percent / 100
		b.ReportMetric(float64(all[i]-alone[i])/float64(time.Millisecond), fmt.Sprintf("own-p%d-ms", percent))
	}
}
