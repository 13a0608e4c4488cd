package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // as kubectl has them
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// access is how the API server is reached, by kubectl's own flags.
type access struct {
	rules     *clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
}

// shown are the access flags that --help lists; kubectl options lists all.
var shown = []string{"as", "context", "namespace", "request-timeout", "server", "token"}

func newAccess(flags *pflag.FlagSet) *access {
	a := &access{rules: clientcmd.NewDefaultClientConfigLoadingRules()}
	flags.StringVar(&a.rules.ExplicitPath, "kubeconfig", "", "path of the kubeconfig file")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ClusterOverrideFlags.APIServer.ShortName = "s" // as kubectl has it
	names.ContextOverrideFlags.Namespace.Description = "namespace of the agents and coordinators (default: where they are found, or " + diagnose.DefaultNamespace + "); for why pod/NAME, that of the pod"
	access := pflag.NewFlagSet("", pflag.ContinueOnError)
	clientcmd.BindOverrideFlags(&a.overrides, access, names)
	access.VisitAll(func(f *pflag.Flag) {
		f.Hidden = !slices.Contains(shown, f.Name)
		flags.AddFlag(f)
	})
	return a
}

func (a *access) config() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(a.rules, &a.overrides)
}

// connect makes a client.
func (a *access) connect() (*client, error) {
	cfg, err := a.config().ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no kubeconfig: set KUBECONFIG, or name the file with --kubeconfig")
	} else if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg.UserAgent = "kubectl-eni/" + Version
	cfg.QPS, cfg.Burst = 50, 100
	return newClient(cfg, a.overrides.Context.Namespace)
}

// client reads from an API server.
type client struct {
	config    *rest.Config
	rest      rest.Interface
	namespace string // that was asked for
}

func newClient(cfg *rest.Config, namespace string) (*client, error) {
	bounded := kube.Bounded(cfg)
	bounded.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	c, err := rest.UnversionedRESTClientFor(bounded)
	if err != nil {
		return nil, err
	}
	return &client{config: cfg, rest: c, namespace: namespace}, nil
}

// parameters are those of a request.
type parameters map[string]string

func (c *client) request(path string, p parameters) *rest.Request {
	r := c.rest.Get().AbsPath(path).SetHeader("Accept", "application/json, */*")
	for name, value := range p {
		r.Param(name, value)
	}
	return r
}

// raw reads what is at a path.
func (c *client) raw(ctx context.Context, path string, p parameters) ([]byte, error) {
	data, err := c.request(path, p).Do(ctx).Raw()
	return data, explain(err, path)
}

// pageSize is how many objects of a list are read at once, as kubectl does.
const pageSize = 500

// list reads all pages of a list.
func list[T any](ctx context.Context, c *client, path string, p parameters) (all []T, version string, err error) {
	page := parameters{"limit": strconv.Itoa(pageSize)}
	for name, value := range p {
		page[name] = value
	}
	for {
		data, err := c.raw(ctx, path, page)
		if err != nil {
			return nil, "", err
		}
		var l struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []T             `json:"items"`
		}
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, "", fmt.Errorf("%s: the response does not come from the API server: %w", path, err)
		}
		all = append(all, l.Items...)
		if page["continue"] = l.Metadata.Continue; l.Metadata.Continue == "" {
			return all, l.Metadata.ResourceVersion, nil
		}
	}
}

// explain puts an error of the API server into words.
func explain(err error, path string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return &refusal{"you do not have permission to read " + path, err}
	case apierrors.IsUnauthorized(err):
		return &refusal{"the API server does not accept your credentials: log in again", err}
	case errors.As(err, new(*url.Error)):
		return fmt.Errorf("cannot reach the API server: %w", err)
	}
	return err
}

// refusal is an error of the API server in our words.
type refusal struct {
	text string
	err  error
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.err }

// changes sends something whenever an object of the list changes, until ctx ends.
func (c *client) changes(ctx context.Context, path, version string, changed chan<- struct{}) {
	for ctx.Err() == nil {
		stream, err := c.request(path, parameters{"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}).Stream(ctx)
		if err == nil {
			err = signal(stream, changed)
			_ = stream.Close()
		}
		if err != nil {
			version = "" // whatever happened, the next read finds it
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// signal sends something for each event of a watch.
func signal(stream io.Reader, changed chan<- struct{}) error {
	for decoder := json.NewDecoder(stream); ; {
		var event struct{ Type string }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if event.Type == "ERROR" {
			return errors.New("the watch is too old")
		}
		if event.Type != "BOOKMARK" {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}
}
