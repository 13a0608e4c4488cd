package release

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cosign and gh need Sigstore and GitHub, so these stand in for them: they record how they
// are called, and refuse what $REFUSE, a regular expression, matches.
const (
	fakeTool = `#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
if [ -n "$REFUSE" ] && echo "$(basename "$0") $*" | grep -q -- "$REFUSE"; then
	echo "error: no matching signatures" >&2
	exit 1
fi
case "$(basename "$0") $1 $2" in
"gh release download") cp "$RELEASE"/* . ;;
"cosign verify --output") echo '[{"critical":{"image":{"docker-manifest-digest":"sha256:0123456789abcdef"},"type":"cosign container image signature"}}]' ;;
esac
`
	signedBy = "--certificate-identity https://github.com/aws-multi-eni/aws-multi-eni/.github/workflows/release.yml@refs/tags/v0.1.0 --certificate-oidc-issuer https://token.actions.githubusercontent.com "
	builtBy  = " --repo aws-multi-eni/aws-multi-eni --cert-identity https://github.com/aws-multi-eni/aws-multi-eni/.github/workflows/release.yml@refs/tags/v0.1.0 --deny-self-hosted-runners"
)

// A published is a release as GitHub has it, and the tools to verify it.
type published struct{ dir, tools, calls string }

func publish(t *testing.T) published {
	t.Helper()
	p := published{dir: t.TempDir(), tools: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls")}
	var sums bytes.Buffer
	for _, name := range []string{"aws-multi-eni-0.1.0.tgz", "eni-agent_0.1.0-1_amd64.deb"} {
		p.write(t, name, name)
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte(name)), name)
	}
	p.write(t, "SHA256SUMS", sums.String())
	p.write(t, "SHA256SUMS.sigstore.json", "{}")
	p.write(t, "provenance.intoto.jsonl", "{}")
	for _, tool := range []string{"cosign", "gh"} {
		if err := os.WriteFile(filepath.Join(p.tools, tool), []byte(fakeTool), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p published) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (p published) verify(refuse string, args ...string) (string, error) {
	cmd := exec.Command("./verify.sh", args...)
	cmd.Env = append(os.Environ(), "PATH="+p.tools+":"+os.Getenv("PATH"), "CALLS="+p.calls, "RELEASE="+p.dir, "REFUSE="+refuse)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestVerify(t *testing.T) {
	p := publish(t)
	out, err := p.verify("", "v0.1.0")
	const want = `✓ SHA256SUMS: signature
✓ aws-multi-eni-0.1.0.tgz: checksum
✓ aws-multi-eni-0.1.0.tgz: provenance
✓ eni-agent_0.1.0-1_amd64.deb: checksum
✓ eni-agent_0.1.0-1_amd64.deb: provenance
✓ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: signature of sha256:0123456789abcdef
✓ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: provenance
✓ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: bill of materials
✓ ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0: signature of sha256:0123456789abcdef
✓ ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0: provenance
✓ ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0: bill of materials
✓ ghcr.io/aws-multi-eni/charts/aws-multi-eni:0.1.0: signature of sha256:0123456789abcdef
all checks passed: aws-multi-eni/aws-multi-eni built and signed v0.1.0 from its tag
`
	if err != nil || out != want {
		t.Errorf("%v, printed\n%s\nwant\n%s", err, out, want)
	}
	const image = "ghcr.io/aws-multi-eni/eni-agent"
	calls := string(read(t, p.calls))
	for _, call := range []string{
		"gh release download v0.1.0 --repo aws-multi-eni/aws-multi-eni --dir . --clobber",
		"cosign verify-blob --bundle SHA256SUMS.sigstore.json " + signedBy + "SHA256SUMS",
		"gh attestation verify eni-agent_0.1.0-1_amd64.deb --bundle provenance.intoto.jsonl" + builtBy,
		"cosign verify --output json " + signedBy + image + ":v0.1.0",
		"gh attestation verify oci://" + image + "@sha256:0123456789abcdef" + builtBy,
		"cosign verify-attestation --type cyclonedx " + signedBy + image + "@sha256:0123456789abcdef",
	} {
		if !strings.Contains(calls, call+"\n") {
			t.Errorf("did not call %s, but\n%s", call, calls)
		}
	}
}

// Whatever is wrong, the script says what, goes on, and fails.
func TestVerifyRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		tamper func(t *testing.T, p published)
		refuse string
		want   []string // lines
	}{
		"a tampered file": {
			tamper: func(t *testing.T, p published) { p.write(t, "eni-agent_0.1.0-1_amd64.deb", "evil") },
			want:   []string{"✗ eni-agent_0.1.0-1_amd64.deb: checksum", "✓ aws-multi-eni-0.1.0.tgz: provenance", "1 checks failed: do not install v0.1.0"},
		},
		"tampered checksums": {
			refuse: "verify-blob",
			want:   []string{"✗ SHA256SUMS: signature", "    error: no matching signatures", "✓ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: provenance"},
		},
		"a file too many": {
			tamper: func(t *testing.T, p published) { p.write(t, "install.sh", "evil") },
			want:   []string{"✗ install.sh: checksum", "    SHA256SUMS does not list it, so it is not a file of the release"},
		},
		"a file is missing": {
			tamper: func(t *testing.T, p published) { os.Remove(filepath.Join(p.dir, "aws-multi-eni-0.1.0.tgz")) },
			want:   []string{"✗ aws-multi-eni-0.1.0.tgz: checksum", "    the file is missing"},
		},
		"a file built elsewhere":   {refuse: "attestation verify aws-multi", want: []string{"✗ aws-multi-eni-0.1.0.tgz: provenance", "✓ aws-multi-eni-0.1.0.tgz: checksum"}},
		"an unsigned image":        {refuse: "cosign verify .*eni-agent:", want: []string{"✗ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: signature", "✓ ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0: provenance"}},
		"an image built elsewhere": {refuse: "oci://.*coordinator", want: []string{"✗ ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0: provenance"}},
		"no bill of materials":     {refuse: "verify-attestation", want: []string{"✗ ghcr.io/aws-multi-eni/eni-agent:v0.1.0: bill of materials", "2 checks failed: do not install v0.1.0"}},
		"an unsigned chart":        {refuse: "cosign verify .*charts", want: []string{"✗ ghcr.io/aws-multi-eni/charts/aws-multi-eni:0.1.0: signature"}},
		"no release":               {refuse: "release download", want: []string{"error: no matching signatures"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := publish(t)
			if test.tamper != nil {
				test.tamper(t, p)
			}
			out, err := p.verify(test.refuse, "v0.1.0", "--dir", p.dir)
			if name == "no release" {
				out, err = p.verify(test.refuse, "v0.1.0")
			}
			if err == nil || strings.Contains(out, "all checks passed") {
				t.Errorf("accepted it:\n%s", out)
			}
			for _, line := range test.want {
				if !strings.Contains(out, line+"\n") {
					t.Errorf("no line %q in\n%s", line, out)
				}
			}
		})
	}
}

func TestVerifyUsage(t *testing.T) {
	p := publish(t)
	for _, args := range [][]string{{}, {"0.1.0"}, {"v0.1.0", "--dir"}, {"v0.1.0", "--other"}} {
		if out, err := p.verify("", args...); err == nil || !strings.Contains(out, "verify.sh v0.1.0 --dir DIR") {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}
