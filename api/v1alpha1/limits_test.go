package v1alpha1

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// hostile fills every string and list of a report with far too much.
func hostile(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1000, 1000))
		for i := range v.Len() {
			hostile(v.Index(i), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).PkgPath == "" && v.Type().Field(i).Type.PkgPath() != "k8s.io/apimachinery/pkg/apis/meta/v1" {
				hostile(v.Field(i), text)
			}
		}
	}
}

// bounded says which string or list exceeds every bound there is.
func bounded(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); utf8.RuneCountInString(s) > MaxMessageLength || strings.ContainsAny(s, "\x1b\n\u202e") || !utf8.ValidString(s) {
			t.Fatalf("%s has %d characters: %.20q", path, utf8.RuneCountInString(s), s)
		}
	case reflect.Slice:
		if v.Len() > MaxENIs {
			t.Fatalf("%s has %d elements", path, v.Len())
		}
		for i := range v.Len() {
			bounded(t, v.Index(i), path+"[]")
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).PkgPath == "" {
				bounded(t, v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		}
	}
}

// TestClip: every string and list, those of fields to come too.
func TestClip(t *testing.T) {
	for _, text := range []string{strings.Repeat("\x1b[2J界", 2000), strings.Repeat("\xff\n", 5000), strings.Repeat("\u202eeni", 3000)} {
		var s NodeENIStateStatus
		hostile(reflect.ValueOf(&s).Elem(), text)
		s.Clip()
		bounded(t, reflect.ValueOf(s), "status")
	}
}

// TestClipKeepsWhatIsRight: nothing changes in a report that keeps to the bounds.
func TestClipKeepsWhatIsRight(t *testing.T) {
	report := NodeENIStateStatus{InstanceID: "i-0123456789abcdef0", Zone: "us-east-1a", ENIs: []ENIState{{
		NodeENI: strings.Repeat("n", MaxNameLength), NodeENIUID: types.UID("8c1e4f5a-0000-4000-8000-000000000000"),
		SubnetID: "subnet-0123456789abcdef0", SubnetCIDR: "10.0.0.0/24", SubnetIPv6CIDRs: []string{"2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff/128"}, ENIID: "eni-0123456789abcdef0",
		AttachmentID: "eni-attach-0123456789abcdef0", MAC: "0a:00:00:00:00:01", Addresses: []string{"10.0.0.1", "2001:db8::1"},
		Prefixes: []string{"10.0.0.16/28", "2001:db8:0:0:1::/80"}, ConnectionTracking: &ConnectionTracking{TCPEstablishedTimeout: 350}, ENAExpress: &ENAExpress{Enabled: true},
		InterfaceName:      "ifname-15-bytes",
		LastTransitionTime: metav1.Unix(1700000000, 0), Phase: PhaseFailed, Reason: "SecurityGroupsPerInstanceLimitExceeded", Message: strings.Repeat("ä", MaxMessageLength), Replaces: "eni-0123456789abcdef1",
	}}}
	want := *report.DeepCopy()
	if report.Clip(); !reflect.DeepEqual(report, want) {
		t.Errorf("got %+v, want %+v", report, want)
	}
}
