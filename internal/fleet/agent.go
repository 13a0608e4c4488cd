package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/prometheus/client_golang/prometheus"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/apiserver"
	"github.com/aws-multi-eni/aws-multi-eni/agent/doctor"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const agentName = "eni-agent"

// Node is a node whose agent is to run.
type Node struct {
	Name     string
	Token    string // of the agent's ServiceAccount, bound to the Node
	Identity imds.Identity
}

// run wires one agent as eni-agent does and runs it until ctx ends.
func (a *Agents) run(ctx context.Context, m *member) error {
	servers := m.cfg
	cfg := agent.Config{
		Node: m.node.Name, Identity: m.node.Identity, Links: m.host, Metadata: m.host,
		Log: a.log.With("node", m.node.Name), Metrics: agent.NewMetrics(prometheus.NewRegistry()),
		VerifyEvery: servers.VerifyEvery,
	}
	cfg.EC2 = eni.NewClient(cfg.Metrics.Calls().Instrument(a.awsConfig(servers, m.node)))

	kubeConfig, transport, err := a.kubeConfig(servers, m.node.Token)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	kubeConfig.QPS, kubeConfig.Burst = 50, 100
	client, err := kube.NewClient(kubeConfig, agentName)
	if err != nil {
		return err
	}
	if cfg.Cluster, err = client.ClusterID(ctx); err != nil {
		return err
	}
	source, err := apiserver.New(kubeConfig, client, m.node.Name, m.node.Identity.InstanceID, cfg.Log)
	if err != nil {
		return err
	}
	if servers.OnDemand > 0 {
		dir := filepath.Join(servers.Dir, m.node.Name)
		cfg.OnDemand = &agent.OnDemand{Claims: source.OnDemand(), Idle: servers.OnDemand, Files: agent.ClaimFiles{ClaimsDir: filepath.Join(dir, "claims"), DataDir: filepath.Join(dir, "data")}}
	}
	if err := source.Run(ctx); err != nil {
		return err
	}
	cfg.Source = source
	cfg.Recorder = kube.NewRecorder(ctx, client, kube.EventSource{Component: agentName, Host: m.node.Name}, cfg.Log)
	go preflight(ctx, client, m.node)
	m.agent = agent.New(cfg)
	close(m.begun)
	return m.agent.Run(ctx)
}

// preflight asks what eni-agent asks the API server for when it starts.
func preflight(ctx context.Context, client *kube.Client, n Node) {
	doctor.GatherNode(ctx, client, n.Name, n.Identity.InstanceID, "", false)
	doctor.GatherCNI(ctx, client)
}

// awsConfig is the SDK's default configuration, as awsconfig.Load has it, for
// EC2 in the place of the instance's.
func (a *Agents) awsConfig(servers Config, n Node) aws.Config {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DialContext = a.ec2.dial })
	return aws.Config{
		Region:       n.Identity.Region,
		BaseEndpoint: aws.String(servers.EC2URL),
		HTTPClient:   client,
		Credentials:  credentials.NewStaticCredentialsProvider(cloud.AccessKeyID(n.Identity.InstanceID), "simulated", "simulated"),
	}
}

// kubeConfig is an agent's access to the API server. client-go would share one
// connection among all agents of this process; this gives each its own, made as
// client-go makes it.
func (a *Agents) kubeConfig(servers Config, token string) (*rest.Config, *http.Transport, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(servers.APICA) {
		return nil, nil, errors.New("the certificate of the API server's authority cannot be read")
	}
	transport := utilnet.SetTransportDefaults(&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		MaxIdleConnsPerHost: 25,
		DialContext:         a.api.dial,
	})
	return &rest.Config{Host: servers.APIURL, BearerToken: token, Transport: transport}, transport, nil
}
