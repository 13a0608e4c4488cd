package docs

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Flags of other programs that the pages name.
var foreignFlags = []string{
	"--node-ip", "--nodeport-addresses", "--provider-id", "--register-with-taints", "--node-labels", // kubelet, kube-proxy
	"--validate", "--for", // kubectl
	"--timeout", "--take-ownership", "--force-conflicts", "--no-hooks", "--rollback-on-failure", "--atomic", "--set", "--set-string", "--version", // helm
	"--enable-dynamic-resource-allocation", // Cluster Autoscaler
}

var (
	flagForm    = regexp.MustCompile(`(^|[\s"'(=])(--?[a-z][a-z-]*)`)
	helpFlag    = regexp.MustCompile(`(?m)^  -([a-z][a-z-]*)`)
	pluginFlag  = regexp.MustCompile(`(?m)^  (?:-([a-z]), |    )--([a-z-]+)`)
	helpCommand = regexp.MustCompile(`(?m)^  (eni-[a-z]+) ([a-z]+(?:-[a-z]+)*) `)
)

// program is one of ours: its subcommands, and the flags of each. That without a
// name serves.
type program map[string][]string

// programs asks each program itself.
func programs(t *testing.T) map[string]program {
	t.Helper()
	if err := testbed.ReadTree(root, ".go", "go.mod"); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./cmd/...")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := map[string]program{}
	for _, name := range []string{"eni-agent", "eni-coordinator", "eni-dra", "eni-sim"} {
		help := func(args ...string) string {
			out, err := exec.Command(filepath.Join(bin, name), append(args, "--help")...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s %v --help: %v\n%s", name, args, err, out)
			}
			return string(out)
		}
		text := help()
		all[name] = program{"": flagsOf(text)}
		for _, m := range helpCommand.FindAllStringSubmatch(text, -1) {
			if m[1] == name && m[2] != "version" {
				all[name][m[2]] = flagsOf(help(m[2]))
			}
		}
		all[name]["version"] = nil
		if own, ok := all[name]["doctor"]; ok {
			all[name]["doctor"] = append(own, all[name][""]...) // as its help says
		}
	}
	all["kubectl-eni"] = program{"": nil, "version": nil, "help": nil}
	for _, command := range []string{"status", "why", "doctor", "bundle"} {
		out, err := exec.Command(filepath.Join(bin, "kubectl-eni"), command, "--help").Output()
		if err != nil {
			t.Fatalf("kubectl-eni %s --help: %v", command, err)
		}
		var flags []string
		for _, m := range pluginFlag.FindAllStringSubmatch(string(out), -1) {
			flags = append(flags, m[2])
			if m[1] != "" {
				flags = append(flags, m[1])
			}
		}
		all["kubectl-eni"][command] = append(flags, "help")
	}
	return all
}

func flagsOf(help string) []string {
	var flags []string
	for _, m := range helpFlag.FindAllStringSubmatch(help, -1) {
		flags = append(flags, m[1])
	}
	return flags
}

// Every flag and subcommand of our programs that a page names exists.
func TestFlags(t *testing.T) {
	all := programs(t)
	known := append(slices.Clone(foreignFlags), "--help")
	for _, p := range all {
		for _, flags := range p {
			for _, f := range flags {
				known = append(known, "--"+f, "-"+f)
			}
		}
	}
	named := map[string]bool{}
	for _, p := range pages(t) {
		for _, c := range p.code() {
			if !strings.HasPrefix(c.text, "-") {
				continue
			}
			for _, m := range flagForm.FindAllStringSubmatch(c.text, -1) {
				named[m[2]] = true
				if !slices.Contains(known, m[2]) {
					t.Errorf("%s:%d: nothing of ours has the flag %s", p.path, c.number, m[2])
				}
			}
		}
		for _, c := range slices.Concat(p.code(), p.shell()) {
			if problem := wrongCommand(c.text, all); problem != "" {
				t.Errorf("%s:%d: %s: %s", p.path, c.number, c.text, problem)
			}
		}
	}
	if len(named) < 10 {
		t.Errorf("only the flags %v found", slices.Sorted(maps.Keys(named)))
	}
}

// wrongCommand says what is wrong with a command line of one of our programs.
func wrongCommand(text string, all map[string]program) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	if len(words) > 2 && words[0] == "kubectl" && words[1] == "eni" {
		words = append([]string{"kubectl-eni"}, words[2:]...)
	}
	of, ok := all[filepath.Base(words[0])]
	if !ok {
		return ""
	}
	subcommand := ""
	words = words[1:]
	if len(words) > 0 && regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(words[0]) {
		subcommand, words = words[0], words[1:]
	}
	flags, ok := of[subcommand]
	if !ok {
		return "there is no subcommand " + subcommand
	}
	for _, w := range words {
		if w == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		if strings.HasPrefix(w, "-") && name != "help" && !slices.Contains(flags, name) {
			return "it has no flag " + w
		}
	}
	return ""
}

var target = regexp.MustCompile(`(?m)^([a-z-]+):`)

// Every target of make that a page names exists, and every variable is read.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(root, "hack/*/*.sh"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(makefile)
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text += string(script)
	}
	targets := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	count := 0
	for _, p := range pages(t) {
		for _, c := range slices.Concat(p.code(), p.shell()) {
			words := strings.Fields(c.text)
			if len(words) < 2 || words[0] != "make" {
				continue
			}
			count++
			for _, w := range words[1:] {
				switch name, _, isVariable := strings.Cut(w, "="); {
				case strings.ContainsAny(w, `"'[…$`) || strings.HasPrefix(w, "-"):
				case isVariable && !strings.Contains(text, "$("+name+")") && !strings.Contains(text, "${"+name):
					t.Errorf("%s:%d: %s: nothing reads %s", p.path, c.number, c.text, name)
				case !isVariable && !targets[w]:
					t.Errorf("%s:%d: there is no target %s", p.path, c.number, w)
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("only %d calls of make found", count)
	}
}

var treePath = regexp.MustCompile(`(^|[\s/.(])((?:agent|api|cmd|coordinator|docs|e2e|hack|imds|internal|manifests|packaging|\.github)/[\w./*-]*)`)

// Every file of the tree that a page names exists.
func TestPaths(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, c := range slices.Concat(p.code(), p.shell()) {
			for _, m := range treePath.FindAllStringSubmatch(c.text, -1) {
				if m[1] == "/" { // of another tree, or of an image's name
					continue
				}
				count++
				path := strings.TrimRight(m[2], ".")
				found, err := filepath.Glob(filepath.Join(root, path))
				if beside, _ := filepath.Glob(filepath.Join(root, filepath.Dir(p.path), path)); err != nil || len(found)+len(beside) == 0 {
					t.Errorf("%s:%d: there is no %s", p.path, c.number, path)
				}
			}
		}
	}
	if count < 15 {
		t.Errorf("only %d paths found", count)
	}
}

// Commands are ones that a shell can read.
func TestShellSyntax(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang != "sh" {
				continue
			}
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = strings.NewReader(b.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", p.path, b.line, err, out)
			}
		}
	}
}

var shortName = regexp.MustCompile("short name `([a-z]+)`")

// Short names of kinds are those of the CRDs.
func TestShortNames(t *testing.T) {
	crds := read(t, "manifests/crds/networking.k8s.aws_nodeenis.yaml") + read(t, "manifests/crds/networking.k8s.aws_nodeenistates.yaml")
	count := 0
	for _, p := range pages(t) {
		for _, l := range p.prose {
			for _, m := range shortName.FindAllStringSubmatch(l.text, -1) {
				count++
				if !strings.Contains(crds, "    shortNames:\n    - "+m[1]+"\n") {
					t.Errorf("%s:%d: no kind has the short name %s", p.path, l.number, m[1])
				}
			}
		}
	}
	if count == 0 {
		t.Error("no short name found")
	}
}
