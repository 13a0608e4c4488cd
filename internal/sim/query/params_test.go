package query

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestListsInParameters(t *testing.T) {
	for _, test := range []struct {
		form string
		want []string
	}{
		{"", nil},
		{"Id.1=a&Id.2=b", []string{"a", "b"}},
		{"Id.10=c&Id.9=b&Id.2=a", []string{"a", "b", "c"}},
		{"Id.1=a&Idx.1=b", []string{"a"}},
		{"Id.0=a&Id.-1=b&Id.x=c&Id.01=d&Id.99999999999999999999=e&Id.=f&Id=g", nil},
	} {
		form, err := url.ParseQuery(test.form)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(form)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.list("Id"); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.form, got, test.want)
		}
		if unknown := len(p.values) > len(test.want); unknown != (p.err() != nil) {
			t.Errorf("%s: error %v", test.form, p.err())
		}
	}
}

// What no SDK sends, but people with curl do.
func TestRawRequests(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		form string
		code string // "" is success
		part string // of the body
	}{
		{"Action=DescribeSubnets&Version=2016-11-15", "", "<subnetId>" + subnetB + "</subnetId>"},
		{"Action=DescribeSubnets&Version=2016-11-15&SubnetId.7=" + subnetB, "", `xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"`},
		{"Action=DescribeSubnets&Version=2016-11-15&Color=red", "UnknownParameter", "The parameter Color is not recognized"},
		{"Action=DescribeSubnets&Version=2016-11-15&SubnetId=" + subnetB, "UnknownParameter", "SubnetId"},
		{"Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Valu.1=x", "UnknownParameter", "Filter.1.Valu.1"},
		{"Action=DescribeSubnets&Version=2016-11-15&MaxResults=many", "InvalidParameterValue", "maxResults"},
		{"Action=DescribeSubnets&Version=2016-11-15&DryRun=perhaps", "InvalidParameterValue", "dryRun"},
		{"Action=DescribeSubnets&Version=2016-11-15&DryRun=true&DryRun=false", "InvalidQueryParameter", "DryRun"},
		{"Action=DescribeSubnets&Version=2016-11-15&NextToken=%ff", "InvalidQueryParameter", "UTF-8"},
		{"Action=DescribeSubnets&Version=2010-01-01", "NoSuchVersion", "2010-01-01"},
		{"Action=DescribeSubnets", "MissingParameter", "version"},
		{"Version=2016-11-15", "MissingAction", ""},
		{"Action=Fly&Version=2016-11-15", "InvalidAction", "The action Fly is not valid"},
		{"Action=%zz", "MalformedQueryString", ""},
		{"Action=CreateNetworkInterface&Version=2016-11-15", "MissingParameter", "The request must contain the parameter subnetId"},
		{"Action=AttachNetworkInterface&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&InstanceId=" + noHost, "MissingParameter", "deviceIndex"},
		{"Action=TerminateInstances&Version=2016-11-15", "MissingParameter", "instanceId"},
		{"Action=DeleteTags&Version=2016-11-15", "MissingParameter", "resourceIdSet"},
		{"Action=ModifyNetworkInterfaceAttribute&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Attachment.AttachmentId=" + noAttach, "MissingParameter", "attachment.DeleteOnTermination"},
		{"Action=ModifyNetworkInterfaceAttribute&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Attachment.EnaQueueCount=2", "MissingParameter", "attachment.AttachmentId"},
		{"Action=AssignIpv6Addresses&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Ipv6Addresses.1=10.0.0.1", "InvalidParameterValue", "Expecting an IPv6 address"},
		{"Action=AssignIpv6Addresses&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Ipv6Prefix.1=2001:db8::", "InvalidParameterValue", "Expecting a prefix"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			request := httptest.NewRequest(method, "/?"+test.form, nil)
			if method == http.MethodPost {
				request = httptest.NewRequest(method, "/", strings.NewReader(test.form))
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			}
			w := httptest.NewRecorder()
			New(r.cloud).ServeHTTP(w, request)
			body := w.Body.String()
			var answer struct {
				Code      string `xml:"Errors>Error>Code"`
				RequestID string `xml:"RequestID"`
			}
			if err := xml.Unmarshal([]byte(body), &answer); err != nil {
				t.Errorf("%s %s: %v in %s", method, test.form, err, body)
			}
			if answer.Code != test.code || !strings.Contains(body, test.part) || (answer.RequestID == "") != (test.code == "") {
				t.Errorf("%s %s: got %s, want %s with %s", method, test.form, body, test.code, test.part)
			}
			if ok := w.Code == http.StatusOK; ok != (test.code == "") || w.Header().Get("Content-Type") != "text/xml;charset=UTF-8" {
				t.Errorf("%s %s: status %d, %v", method, test.form, w.Code, w.Header())
			}
		}
	}
}

func TestAccessKeyIDOfAPresignedRequest(t *testing.T) {
	r := newRig(t)
	request := httptest.NewRequest(http.MethodGet, "/?Action=DescribeVpcs&Version=2016-11-15&X-Amz-Credential=AKID%2F20260101%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Signature=x", nil)
	w := httptest.NewRecorder()
	New(r.cloud).ServeHTTP(w, request)
	if calls := r.cloud.Calls(); w.Code != http.StatusOK || calls[0].SourceID != "AKID" || len(calls[0].Params) != 0 {
		t.Errorf("status %d, logged %+v", w.Code, calls)
	}
}

// Whatever is sent, the answer is XML, and an error unless all was understood.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"Action=CreateNetworkInterface&Version=2016-11-15&SubnetId=" + subnetA + "&TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b&PrivateIpAddresses.1.PrivateIpAddress=10.0.1.9&PrivateIpAddresses.1.Primary=true",
		"Action=DescribeNetworkInterfaces&Version=2016-11-15&Filter.1.Name=tag:a&Filter.1.Value.1=*b?\\c&MaxResults=5&NextToken=e30",
		"Action=ModifyNetworkInterfaceAttribute&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Attachment.AttachmentId=x&Attachment.DeleteOnTermination=true",
		"Action=AssignPrivateIpAddresses&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&PrivateIpAddress.1=::1",
		"Action=AssignIpv6Addresses&Version=2016-11-15&NetworkInterfaceId=" + noENI + "&Ipv6Prefix.1=::/80&Ipv6AddressCount=2147483647",
		"Action=CreateNetworkInterface&Version=2016-11-15&SubnetId=" + subnetA + "&Ipv4Prefix.1.Ipv4Prefix=10.0.1.16/28&Ipv6PrefixCount=1&ConnectionTrackingSpecification.UdpTimeout=30",
		"Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&InstanceType=m5.large&SubnetId=" + subnetA + "&ClientToken=%00",
		"Action=DeleteTags&Version=2016-11-15&ResourceId.1=" + subnetA + "&Tag.1.Key=",
		"Action=DescribeVpcs&Version=2016-11-15&VpcId.18446744073709551616=x&VpcId.1.1=x",
	} {
		f.Add(seed)
	}
	c, err := cloud.New(testConfig())
	if err != nil {
		f.Fatal(err)
	}
	handler := New(c)
	f.Fuzz(func(t *testing.T, body string) {
		c.ResetCalls()
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		if w.Code >= 500 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		decoder := xml.NewDecoder(w.Body)
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("not XML: %v", err)
			}
		}
	})
}
