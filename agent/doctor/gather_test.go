package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

// What stands in for EC2 may not know dry runs: it carries them out, or refuses the
// parameter. Then no change is tried, and what was carried out itself is allowed.
func TestEndpointsWithoutDryRuns(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, form url.Values) (done bool){
		"carries them out": func(_ http.ResponseWriter, form url.Values) bool {
			form.Del("DryRun")
			return false
		},
		"refuses the parameter": func(w http.ResponseWriter, form url.Values) bool {
			if form.Get("DryRun") == "" {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<Response><Errors><Error><Code>UnknownParameter</Code><Message>The parameter DryRun is not recognized</Message></Error></Errors></Response>")
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			const vpc, subnet = "vpc-00000000000000001", "subnet-0000000000000000a"
			account, err := cloud.New(cloud.Config{
				VPCs:    []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
				Subnets: []cloud.Subnet{{ID: subnet, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer account.Close()
			instance, err := account.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnet})
			if err != nil {
				t.Fatal(err)
			}
			ec2 := query.New(account)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				form := r.PostForm
				if answer(w, form) {
					return
				}
				r.Body, r.Form, r.PostForm = io.NopCloser(strings.NewReader(form.Encode())), nil, nil
				r.ContentLength = int64(len(form.Encode()))
				ec2.ServeHTTP(w, r)
			}))
			defer server.Close()
			who := imds.Identity{InstanceID: instance.ID, InstanceType: "m5.large", Zone: "us-east-1a", Region: "us-east-1", Partition: "aws", AccountID: "123456789012", VPCID: vpc}
			client := eni.NewClient(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
			f := Facts{IMDS: &IMDS{Identity: who}, EC2: GatherEC2(t.Context(), Asker{EC2: client, Cluster: "c", Node: "n", Identity: who}, nil)}
			for _, call := range account.Calls() {
				if !strings.HasPrefix(call.Action, "Describe") {
					t.Errorf("%s was called", call.Action)
				}
			}
			for _, r := range checkPermissions(f) {
				want := Skipped
				if r.Check == "ec2:DescribeNetworkInterfaces" || r.Check == "ec2:DescribeInstanceTypes" {
					want = OK
				}
				if r.Status != want && !strings.HasPrefix(r.Check, "ec2:DescribeS") { // which nothing has asked for
					t.Errorf("%+v, want %s", r, want)
				}
			}
		})
	}
}

func TestImageVersion(t *testing.T) {
	for image, want := range map[string]string{
		"602401143452.dkr.ecr.us-west-2.amazonaws.com/amazon-k8s-cni:v1.19.0-eksbuild.1": "1.19.0",
		"registry:5000/amazon-k8s-cni:v1.23.1@sha256:" + strings.Repeat("0", 64):         "1.23.1",
		"registry:5000/amazon-k8s-cni@sha256:" + strings.Repeat("0", 64):                 "",
		"registry:5000/amazon-k8s-cni":                                                   "",
		"amazon-k8s-cni:latest":                                                          "",
		"amazon-k8s-cni:1.23":                                                            "1.23",
		"amazon-k8s-cni:main-0a1b2c3":                                                    "",
		"amazon-k8s-cni:12345":                                                           "",
		"":                                                                               "",
	} {
		if got := imageVersion(image); got != want {
			t.Errorf("imageVersion(%q) = %q, want %q", image, got, want)
		}
	}
}

// What imageVersion takes for a version, the check can compare.
func FuzzImageVersion(f *testing.F) {
	f.Add("a/b:v1.2.3-x@sha256:0")
	f.Fuzz(func(t *testing.T, image string) {
		facts := healthy()
		only6(&facts)
		facts.CNI.Version = imageVersion(image)
		if got := checkCNIVersion(facts); len(got) != 1 || (got[0].Status == Skipped) != (facts.CNI.Version == "") {
			t.Errorf("%q is version %q: %+v", image, facts.CNI.Version, got)
		}
	})
}
