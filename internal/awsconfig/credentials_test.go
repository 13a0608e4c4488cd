package awsconfig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// asChild has this program find its credentials instead of running tests.
const asChild = "AWSCONFIG_TEST_CREDENTIALS"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		findCredentials()
		return
	}
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func findCredentials() {
	ctx := context.Background()
	metadata, err := imds.New(ctx)
	if err != nil {
		fmt.Println("IMDS:", err)
		return
	}
	cfg, err := Load(ctx, metadata)
	if err != nil {
		fmt.Println("no configuration:", err)
		return
	}
	found, err := cfg.Credentials.Retrieve(ctx)
	fmt.Println("Region", cfg.Region, "source", found.Source)
	if err != nil {
		_, err = eni.NewClient(cfg).SubnetsByID(ctx, []string{"subnet-1"})
		fmt.Println("advice:", eni.Advice("DescribeSubnets", err))
	}
}

// host is a network namespace in which the addresses of EC2's link-local services
// answer, and a proxy.
type host struct {
	*testing.T
	ns *netns.Namespace

	mu       sync.Mutex
	proxied  []string // what the proxy was asked for
	tokens   int      // status of the requests for a token; 0: they are answered
	version1 int      // requests without a token
}

const (
	proxyAddress  = "10.9.9.8:3128"
	anotherIMDS   = "10.9.9.9:1338"
	roleDocument  = `{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"secret","Token":"token","Expiration":"2099-01-01T00:00:00Z"}`
	containerPath = "/v1/credentials"
)

func newHost(t *testing.T) *host {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	h := &host{T: t, ns: ns}
	nl, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	lo, err := nl.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "10.9.9.8/32", "10.9.9.9/32"} {
		parsed, err := netlink.ParseAddr(address)
		if err != nil {
			t.Fatal(err)
		}
		parsed.Flags = 0x02 // IFA_F_NODAD
		if err := nl.AddrAdd(lo, parsed); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"169.254.169.254:80", "[fd00:ec2::254]:80", anotherIMDS} {
		h.serve(address, h.imds)
	}
	for _, address := range []string{"169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::23]:80"} {
		h.serve(address, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == containerPath {
				fmt.Fprint(w, roleDocument)
				return
			}
			http.Error(w, "no association for this pod", http.StatusNotFound)
		})
	}
	h.serve(proxyAddress, func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.proxied = append(h.proxied, r.Method+" "+r.Host)
		h.mu.Unlock()
		http.Error(w, "<html><h1>Access denied by policy</h1></html>", http.StatusForbidden)
	})
	return h
}

func (h *host) serve(address string, answer http.HandlerFunc) {
	h.Helper()
	listener, err := h.ns.Listen(h.Context(), "tcp", address)
	if err != nil {
		h.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go func(l net.Listener) { _ = server.Serve(l) }(listener)
	h.Cleanup(func() { _ = server.Close() })
}

func (h *host) imds(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.Method == http.MethodPut && h.tokens != 0:
		w.WriteHeader(h.tokens)
		return
	case r.Method == http.MethodPut:
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		fmt.Fprint(w, "a-token")
		return
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") == "":
		h.version1++
	}
	switch r.URL.Path {
	case "/latest/meta-data/placement/region":
		fmt.Fprint(w, "us-test-1")
	case "/latest/dynamic/instance-identity/document":
		fmt.Fprint(w, `{"region":"us-test-1"}`)
	case "/latest/meta-data/iam/security-credentials/":
		fmt.Fprint(w, "role")
	case "/latest/meta-data/iam/security-credentials/role":
		fmt.Fprint(w, roleDocument)
	default:
		http.NotFound(w, r)
	}
}

// find starts a process on the host that finds its credentials, and returns what it
// says.
func (h *host) find(env ...string) string {
	h.Helper()
	h.mu.Lock()
	h.proxied, h.version1 = nil, 0
	h.mu.Unlock()
	child := exec.Command(os.Args[0])
	child.Env = append([]string{
		asChild + "=1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1",
		"HTTP_PROXY=http://user:secret@" + proxyAddress, "HTTPS_PROXY=http://user:secret@" + proxyAddress,
	}, env...)
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, io.MultiWriter(&out, os.Stderr)
	if err := h.ns.Start(child); err != nil {
		h.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		h.Fatalf("%v: %s", err, &out)
	}
	return out.String()
}

// Services that only this host has are asked without a proxy, and IMDS without
// version 1: it is credentials that they hand out.
func TestLocalServicesAreAskedDirectly(t *testing.T) {
	h := newHost(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	role, container := "Region us-test-1 source EC2RoleProvider", "Region us-test-1 source CredentialsEndpointProvider"
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"the instance's role":              {nil, role},
		"IMDS by IPv6":                     {[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6"}, role},
		"IMDS at another address":          {[]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://" + anotherIMDS}, role},
		"defaults that IMDS decides about": {[]string{"AWS_DEFAULTS_MODE=auto"}, role},
		"version 1 is asked for":           {[]string{"AWS_EC2_METADATA_V1_DISABLED=false"}, role},
		"ECS":                              {[]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=" + containerPath}, container},
		"EKS Pod Identity": {[]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23" + containerPath, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token}, container},
		"EKS Pod Identity by IPv6": {[]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://[fd00:ec2::23]" + containerPath, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token}, container},
	} {
		t.Run(name, func(t *testing.T) {
			h.tokens = 0
			if got := h.find(test.env...); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
			h.tokens = http.StatusNotFound // of version 1 only
			refused := h.find(append(test.env, "AWS_REGION=us-test-1")...)
			if test.want == role && !strings.Contains(refused, "does not support IMDSv2") {
				t.Errorf("without version 2 it says %s", refused)
			}
			if h.version1 > 0 || len(h.proxied) > 0 {
				t.Errorf("%d requests without a token; the proxy was asked for %v", h.version1, h.proxied)
			}
		})
	}
}

// An error of what gives the credentials says which provider it is, which host, how it
// answered, and what to do.
func TestCredentialsThatCannotBeHad(t *testing.T) {
	h := newHost(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.serve("10.9.9.9:8001", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>`)
	})
	irsa := []string{"AWS_REGION=us-test-1", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE=" + token}
	pod := []string{"AWS_REGION=us-test-1", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=" + token}
	for name, test := range map[string]struct {
		env   []string
		wants []string
	}{
		"STS does not answer": {append(irsa, "AWS_ENDPOINT_URL_STS=http://10.9.9.9:1", "NO_PROXY=10.9.9.9"),
			[]string{"STS AssumeRoleWithWebIdentity did not respond: 10.9.9.9:1 (connection refused)", "VPC endpoint for sts"}},
		"STS behind a proxy that refuses": {irsa, []string{"STS AssumeRoleWithWebIdentity", "sts.us-test-1.amazonaws.com", "proxy " + proxyAddress, "Forbidden", "NO_PROXY"}},
		"STS refuses": {append(irsa, "AWS_ENDPOINT_URL_STS=http://10.9.9.9:8001", "NO_PROXY=10.9.9.9"),
			[]string{"STS AssumeRoleWithWebIdentity at 10.9.9.9:8001 failed (HTTP 403 AccessDenied: Not authorized", "trust policy"}},
		"no token": {append(slices.Clone(irsa), "AWS_WEB_IDENTITY_TOKEN_FILE=/none"), []string{"unable to read file at /none", "no such file or directory", "AWS_WEB_IDENTITY_TOKEN_FILE"}},
		"Pod Identity's agent does not answer": {append(pod, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1"+containerPath),
			[]string{"127.0.0.1:1 (connection refused)", "eks-pod-identity-agent"}},
		"Pod Identity refuses": {append(pod, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/other"),
			[]string{"HTTP 404 no association for this pod", "VPC endpoint for eks-auth"}},
		"IMDS does not answer": {[]string{"AWS_REGION=us-test-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1"},
			[]string{"iam/security-credentials/ from IMDS at 127.0.0.1:1: connection refused", "blocks 127.0.0.1:1"}},
		"IMDS has no role": {[]string{"AWS_REGION=us-test-1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://10.9.9.9:8002"},
			[]string{"this instance has no IAM role (IMDS returned HTTP 404)", "instance profile"}},
	} {
		if name == "IMDS has no role" {
			h.serve("10.9.9.9:8002", func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPut {
					http.NotFound(w, r)
					return
				}
				h.imds(w, r)
			})
		}
		t.Run(name, func(t *testing.T) {
			got := h.find(test.env...)
			for _, want := range test.wants {
				if !strings.Contains(got, want) {
					t.Errorf("it says %s, and lacks %q", got, want)
				}
			}
			if strings.Contains(got, "secret") || strings.Contains(got, "request id") {
				t.Errorf("it says %s", got)
			}
		})
	}
}
