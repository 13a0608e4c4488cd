package v1alpha1_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// What cannot be changed is refused by the API server and by Go, with the same reason.
func TestUpdates(t *testing.T) {
	const (
		pods      = "cannot be lowered or removed, because pods may use "
		addresses = pods + "the addresses"
		prefixes  = "prefixes " + pods + "addresses from them"
	)
	for _, test := range []struct{ name, before, after, want string }{
		{"another card", "{networkCard: 1}", "{networkCard: 2}", "because an attached ENI keeps its network card"},
		{"no card", "{networkCard: 1}", "{}", "because an attached ENI keeps its network card"},
		{"card 0, named", "{}", "{networkCard: 0}", ""},
		{"on demand from now on", "{}", "{attach: OnDemand}", "spec.attach: Invalid value|because pods may use the ENIs"},
		{"always from now on", "{attach: OnDemand}", "{}", "because pods may use the ENIs"},
		{"always, named", "{}", "{attach: Always}", ""},
		{"another index", "{deviceIndex: 2}", "{deviceIndex: 3}", "because an attached ENI keeps its device index"},

		{"more secondary addresses", "{ipv4: {secondaryAddresses: 1}}", "{ipv4: {secondaryAddresses: 2}}", ""},
		{"the first secondary addresses", "{}", "{ipv4: {secondaryAddresses: 2}}", ""},
		{"fewer secondary addresses", "{ipv4: {secondaryAddresses: 2}}", "{ipv4: {secondaryAddresses: 1}}", "spec.ipv4.secondaryAddresses: Invalid value|" + addresses},
		{"no secondary addresses", "{ipv4: {secondaryAddresses: 2}}", "{ipv4: {}}", addresses},
		{"no ipv4", "{ipv4: {secondaryAddresses: 2}}", "{}", addresses},
		{"no ipv4, of which there was nothing", "{ipv4: {secondaryAddresses: 0}}", "{}", ""},
		{"prefixes in the place of addresses", "{ipv4: {secondaryAddresses: 2}}", "{ipv4: {prefixes: 2}}", addresses},
		{"more prefixes", "{ipv4: {prefixes: 1}}", "{ipv4: {prefixes: 2}}", ""},
		{"fewer prefixes", "{ipv4: {prefixes: 2}}", "{ipv4: {prefixes: 1}}", "spec.ipv4.prefixes: Invalid value|" + prefixes},
		{"addresses in the place of prefixes", "{ipv4: {prefixes: 1}}", "{ipv4: {secondaryAddresses: 16}}", prefixes},

		{"more IPv6 addresses", "{ipv6: {addresses: 1}}", "{ipv6: {addresses: 2}}", ""},
		{"IPv6 addresses instead of the subnet's default", "{}", "{ipv6: {addresses: 1}}", ""},
		{"none instead of the subnet's default", "{}", "{ipv6: {addresses: 0}}", ""},
		{"the subnet's default instead of none", "{ipv6: {addresses: 0}}", "{}", ""},
		{"fewer IPv6 addresses", "{ipv6: {addresses: 2}}", "{ipv6: {addresses: 1}}", "spec.ipv6.addresses: Invalid value|addresses " + pods + "them"},
		{"the subnet's default instead of IPv6 addresses", "{ipv6: {addresses: 1}}", "{ipv6: {}}", "addresses " + pods + "them"},
		{"no ipv6", "{ipv6: {addresses: 1}}", "{}", "addresses " + pods + "them"},
		{"IPv6 prefixes in the place of addresses", "{ipv6: {addresses: 1}}", "{ipv6: {prefixes: 1}}", "addresses " + pods + "them"},
		{"fewer IPv6 prefixes", "{ipv6: {prefixes: 2}}", "{ipv6: {prefixes: 1}}", "spec.ipv6.prefixes: Invalid value|" + prefixes},
		{"IPv6 addresses in the place of prefixes", "{ipv6: {prefixes: 1}}", "{ipv6: {addresses: 1}}", prefixes},

		{"a primary IPv6 address", "{ipv6: {addresses: 1}}", "{ipv6: {addresses: 1, primaryIPv6: true}}", ""},
		{"no primary one any more", "{ipv6: {addresses: 1, primaryIPv6: true}}", "{ipv6: {addresses: 1, primaryIPv6: false}}",
			"spec.ipv6.primaryIPv6: Invalid value|primaryIPv6 cannot be set back to false"},
		{"no ipv6 with a primary one", "{ipv6: {primaryIPv6: true}}", "{}", "primaryIPv6 cannot be set back to false"},

		{"attributes that come and change", "{connectionTracking: {udpTimeout: 60}, enaExpress: {enabled: true, udp: true}}",
			"{connectionTracking: {tcpEstablishedTimeout: 60}, enaExpress: {enabled: true}, enaQueues: 2}", ""},
		{"and go", "{connectionTracking: {udpTimeout: 60}, enaExpress: {enabled: true}, enaQueues: 4}", "{}", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []string
			if test.want != "" {
				want = strings.Split(test.want, "|")
			}
			before, after := versions(t, test.before, test.after)
			checkRefusal(t, "Go", v1alpha1.ValidateNodeENIUpdate(&parsed(t, after).Spec, &parsed(t, before).Spec).ToAggregate(), want)
			nodeENIs := clusterOf(t).nodeENIs
			created, err := nodeENIs.Create(t.Context(), before, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			after.SetResourceVersion(created.GetResourceVersion())
			_, err = nodeENIs.Update(t.Context(), after, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
			checkRefusal(t, "the API server", err, want)
			if err != nil && strings.Contains(err.Error(), "because") && !strings.Contains(err.Error(), ": delete the NodeENI and create it again") {
				t.Errorf("it does not say what to do: %v", err)
			}
		})
	}
}

// versions are the base of testdata/specs.yaml with one change and with the other.
func versions(t *testing.T, before, after string) (was, is *unstructured.Unstructured) {
	t.Helper()
	base, _ := specCases(t)
	version := func(text string) *unstructured.Unstructured {
		var change map[string]any
		if err := yaml.Unmarshal([]byte(text), &change); err != nil {
			t.Fatal(err)
		}
		obj := &unstructured.Unstructured{Object: manifest(base, change)}
		obj.SetName(strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "", "'", "").Replace(t.Name())))
		return obj
	}
	return version(before), version(after)
}

func parsed(t *testing.T, obj *unstructured.Unstructured) *v1alpha1.NodeENI {
	t.Helper()
	document, err := yaml.Marshal(obj.Object)
	if err != nil {
		t.Fatal(err)
	}
	nodeENIs, err := v1alpha1.ParseNodeENIs(document)
	if err != nil {
		t.Fatal(err)
	}
	return nodeENIs[0]
}
