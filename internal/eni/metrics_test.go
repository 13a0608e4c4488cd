package eni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// values are all samples by name and labels; of a histogram, the count.
func values(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			default:
				all[name] = m.GetCounter().GetValue()
			}
		}
	}
	return all
}

// inTurn answers each call with the next status and code; with none it does not
// answer.
type inTurn []string

func (turns *inTurn) Do(r *http.Request) (*http.Response, error) {
	if len(*turns) == 0 {
		return nil, errors.New("connection refused")
	}
	code := (*turns)[0]
	*turns = (*turns)[1:]
	status, body := http.StatusOK, "<DescribeSubnetsResponse/>"
	if code != codeOK {
		status, body = http.StatusServiceUnavailable, "<Response><Errors><Error><Code>"+code+"</Code></Error></Errors></Response>"
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Every answer of EC2 is counted, those that the SDK retries too.
func TestCallsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	cfg := m.Instrument(aws.Config{
		Region: "us-east-1", HTTPClient: &inTurn{"RequestLimitExceeded", "RequestLimitExceeded", codeOK},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	client := ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	})
	if _, err := client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{}); err != nil {
		t.Fatal(err)
	}
	lacking := cfg.Copy()
	lacking.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("none")
	})
	if err := NewClient(lacking).Delete(t.Context(), "eni-1"); !lacksCredentials(err) {
		t.Fatal(err)
	}
	if err := NewClient(cfg).Delete(t.Context(), "eni-1"); err == nil {
		t.Fatal("an answer without a server")
	}
	got := values(t, registry)
	for name, want := range map[string]float64{
		"eni_ec2_calls_total DescribeSubnets RequestLimitExceeded": 2,
		"eni_ec2_calls_total DescribeSubnets OK":                   1,
		"eni_ec2_calls_total DeleteNetworkInterface NoCredentials": 1,
		"eni_ec2_calls_total DeleteNetworkInterface NoAnswer":      1,
		"eni_ec2_call_duration_seconds DescribeSubnets":            3,
		"eni_ec2_call_duration_seconds DeleteNetworkInterface":     2,
		"eni_ec2_throttled_calls_total":                            2,
		"eni_ec2_denied_calls_total":                               1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// Whatever an endpoint answers, there are not more and more series.
func TestCodesAreBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	refused := func(code string) error { return &smithy.GenericAPIError{Code: code} }
	m.count("DescribeSubnets", refused("<html>"), 0)
	m.count("DescribeSubnets", refused(strings.Repeat("x", 65)), 0)
	for i := range 1000 {
		m.count("DescribeSubnets", refused(fmt.Sprint("Code", i)), 0)
	}
	m.count("DescribeSubnets", refused("Code0"), 0)
	m.count("DescribeSubnets", refused("UnauthorizedOperation"), 0)
	got := values(t, registry)
	if got["eni_ec2_calls_total DescribeSubnets Code0"] != 2 || got["eni_ec2_calls_total DescribeSubnets Other"] != 1000-maxCodes+3 {
		t.Errorf("Code0 %v, Other %v", got["eni_ec2_calls_total DescribeSubnets Code0"], got["eni_ec2_calls_total DescribeSubnets Other"])
	}
	if got["eni_ec2_denied_calls_total"] != 1 || len(got) > maxCodes+10 {
		t.Errorf("denied %v, %d series", got["eni_ec2_denied_calls_total"], len(got))
	}
}
