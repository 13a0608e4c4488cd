package kubectl

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unpack returns the files of a bundle.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[path.Clean(name)] = string(content)
	}
}

// The bundle has what support needs, and none of the secrets that were planted; what the
// user may not read is listed, and the bundle is written all the same.
func TestBundle(t *testing.T) {
	reported(t)
	serveContainers(t)
	for user, want := range map[string][]string{
		"admin": {
			"version.txt", "status.txt", "why/data.txt", "objects/nodeenis.yaml", "objects/nodeenistates.yaml", "objects/nodes.yaml", "objects/events-cluster.yaml",
			"objects/daemonsets.yaml", "objects/pods.yaml", "objects/lease.yaml", "objects/crd-nodeenis.yaml", "objects/policies.yaml", "objects/policybindings.yaml",
			"logs/eni-agent-1-eni-agent.log", "doctor/node-1.txt", "doctor/node-2.txt", "index.txt",
		},
		"support":  {"status.txt", "why/data.txt", "objects/nodes.yaml", "logs/eni-agent-1-eni-agent.log", "doctor/node-1.txt", "index.txt"},
		"least":    {"status.txt", "why/data.txt", "objects/nodeenis.yaml", "objects/daemonsets.yaml", "index.txt"},
		"stranger": {"index.txt"},
	} {
		t.Run(user, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "b.tar.gz")
			check(t, user, "bundle -f "+file, 0, "b.tar.gz: ")
			files := unpack(t, file)
			for _, name := range want {
				if files[name] == "" {
					t.Errorf("there is no %s", name)
				}
				if !strings.Contains(files["index.txt"], name) && name != "index.txt" {
					t.Errorf("index.txt has no %s", name)
				}
			}
			for name, content := range files {
				if i := strings.Index(content, "planted-secret"); i >= 0 {
					t.Errorf("%s has a secret: %s", name, content[max(0, i-60):min(len(content), i+30)])
				}
				if strings.Contains(content, "ASIAPLANTED") || strings.Contains(content, "managedFields") || strings.Contains(content, `"planted`) {
					t.Errorf("%s has a key, or managedFields:\n%s", name, content)
				}
			}
			_, missed, _ := strings.Cut(files["index.txt"], "Could not be read:")
			if user != "admin" && !strings.Contains(missed, "permission to read") {
				t.Errorf("index.txt does not say what could not be read:\n%s", files["index.txt"])
			}
			if user == "admin" && (!strings.Contains(files["objects/daemonsets.yaml"], "value: us-east-1\n") || !strings.Contains(files["doctor/node-1.txt"], "exit code 1")) {
				t.Errorf("what is no secret is missing:\n%s\n%s", files["objects/daemonsets.yaml"], files["doctor/node-1.txt"])
			}
		})
	}
}

// The planted secrets would be found: without redaction they are there.
func TestRedactText(t *testing.T) {
	const secret = "s3cr3tValue/Of+Someone0"
	for _, form := range []string{
		"AWS_SECRET_ACCESS_KEY=%s", `"aws_session_token": "%s"`, "password: %s", "--token=%s", "Authorization: Bearer %s", "https://user:%s@example.com/x",
		"-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----", "https://x/?X-Amz-Security-Token=%s&a=b", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.%s", "api_key = '%s'",
	} {
		text := redactText("before " + fmt.Sprintf(form, secret) + " after")
		if strings.Contains(text, "s3cr3t") || !strings.Contains(text, "before") || !regexp.MustCompile("REDACTED").MatchString(text) {
			t.Errorf("%s: %s", form, text)
		}
	}
	for _, text := range []string{
		"EC2 refused CreateNetworkInterface (UnauthorizedOperation: no)", "eni-0123456789abcdef0 of node ip-10-0-0-4.ec2.internal",
		"AWS_REGION=us-east-1", "the token has expired", "reason: NoCredentials", "clientToken", "no AWS credentials: instance profile", "- serviceAccountToken:\n    expirationSeconds: 3600",
	} {
		if redactText(text) != text {
			t.Errorf("%q became %q", text, redactText(text))
		}
	}
}
