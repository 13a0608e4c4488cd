package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// The bodies of the admin endpoint. docs/simulator.md describes it for users.

// Info tells about the simulator as a whole.
type Info struct {
	PID           int      `json:"pid"`
	UserNamespace bool     `json:"userNamespace"` // it is not root, its namespaces are in a user namespace
	EC2URL        string   `json:"ec2URL"`
	NodeEC2URL    string   `json:"nodeEC2URL"`
	AdminURL      string   `json:"adminURL"`
	Topology      Topology `json:"topology"`
	// Services are what instances reach outside of the VPC.
	Services []Service `json:"services"`
}

// InstanceInfo tells about an instance.
type InstanceInfo struct {
	cloud.Instance
	ProviderID string `json:"providerID"`
	// Namespace is the path of its network namespace, fit for nsenter --net=;
	// "" without network.
	Namespace string `json:"namespace,omitempty"`
	// IMDS is the URL of its metadata service outside of the namespace; "" if
	// there is none.
	IMDS string `json:"imds,omitempty"`
	// Env is the environment that an SDK needs on it.
	Env []string `json:"env"`
}

// Counts has the number of API calls by action and error code; the code "ok"
// is success.
type Counts map[string]map[string]int

type (
	throttleBody struct {
		Enabled bool `json:"enabled"`
	}
	freeAddressesBody struct {
		Count int `json:"count"`
	}
	stateBody struct {
		State string `json:"state"`
	}
	errorBody struct {
		Error string `json:"error"`
	}
	none struct{}
)

var (
	errNotFound = errors.New("not found")
	errBadInput = errors.New("bad request")
)

// newAdmin is the admin endpoint.
func newAdmin(s *Simulator) http.Handler {
	mux := http.NewServeMux()
	get(mux, "GET /{$}", func(*http.Request) (Info, error) { return s.info(), nil })
	get(mux, "GET /healthz", func(*http.Request) (none, error) { return none{}, nil })

	get(mux, "GET /instances", func(*http.Request) ([]InstanceInfo, error) { return s.instanceInfos(), nil })
	send(mux, "POST /instances", func(_ *http.Request, spec NodeSpec) (InstanceInfo, error) {
		n, err := s.AddNode(spec)
		if err != nil {
			return InstanceInfo{}, fmt.Errorf("%w: %w", errBadInput, err)
		}
		return s.instanceInfo(n), nil
	})
	onNode(mux, s, "GET /instances/{node}", func(n Node, _ none) (InstanceInfo, error) { return s.instanceInfo(n), nil })
	onNode(mux, s, "DELETE /instances/{node}", func(n Node, _ none) (none, error) { return none{}, s.cloud.Terminate(n.ID) })
	onNode(mux, s, "PUT /instances/{node}/state", func(n Node, body stateBody) (none, error) {
		return none{}, s.cloud.SetInstanceState(n.ID, body.State)
	})
	onNode(mux, s, "GET /instances/{node}/imds-faults", func(n Node, _ none) ([]metadata.Fault, error) { return list(n.IMDS.Faults()), nil })
	onNode(mux, s, "POST /instances/{node}/imds-faults", func(n Node, f metadata.Fault) (none, error) { return none{}, n.IMDS.Inject(f) })
	onNode(mux, s, "DELETE /instances/{node}/imds-faults", func(n Node, _ none) (none, error) { n.IMDS.ClearFaults(); return none{}, nil })

	get(mux, "GET /enis", func(*http.Request) ([]cloud.Interface, error) { return s.cloud.Interfaces(), nil })
	get(mux, "POST /enis/{eni}/detach", func(r *http.Request) (none, error) { return none{}, s.cloud.DetachByHand(r.PathValue("eni")) })
	get(mux, "POST /enis/{eni}/delete", func(r *http.Request) (none, error) { return none{}, s.cloud.DeleteByHand(r.PathValue("eni")) })
	get(mux, "GET /drops", func(*http.Request) ([]vpc.Drop, error) { return s.drops() })

	get(mux, "GET /calls", func(r *http.Request) ([]cloud.Call, error) { return s.callsSince(r.URL.Query()) })
	get(mux, "DELETE /calls", func(*http.Request) (none, error) { s.cloud.ResetCalls(); return none{}, nil })
	get(mux, "GET /counts", func(*http.Request) (Counts, error) { return count(s.cloud.Calls()), nil })

	get(mux, "GET /faults", func(*http.Request) ([]cloud.Fault, error) { return list(s.cloud.Faults()), nil })
	send(mux, "POST /faults", func(_ *http.Request, f cloud.Fault) (none, error) {
		if f.Action != "" && f.Action != "*" && !query.IsAction(f.Action) {
			return none{}, fmt.Errorf("%w: fault: there is no action %q", errBadInput, f.Action)
		}
		return none{}, s.cloud.Inject(f)
	})
	get(mux, "DELETE /faults", func(*http.Request) (none, error) { s.cloud.ClearFaults(); return none{}, nil })

	get(mux, "GET /timing", func(*http.Request) (cloud.Timing, error) { return s.cloud.Timing(), nil })
	mux.HandleFunc("PUT /timing", s.putTiming)
	send(mux, "PUT /throttle", func(_ *http.Request, body throttleBody) (none, error) {
		s.cloud.SetThrottle(body.Enabled)
		return none{}, nil
	})
	send(mux, "PUT /subnets/{subnet}/free-addresses", func(r *http.Request, body freeAddressesBody) (none, error) {
		return none{}, s.cloud.SetFreeAddresses(r.PathValue("subnet"), body.Count)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			answer(w, none{}, fmt.Errorf("%w: %s %s; docs/simulator.md lists the requests", errNotFound, r.Method, r.URL.Path))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// get registers a handler for requests without a body.
func get[Out any](mux *http.ServeMux, pattern string, handle func(*http.Request) (Out, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out, err := handle(r)
		answer(w, out, err)
	})
}

// send registers a handler for requests with a body, in which unknown fields
// are errors.
func send[In, Out any](mux *http.ServeMux, pattern string, handle func(*http.Request, In) (Out, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decode(w, r, &in); err != nil {
			answer(w, none{}, err)
			return
		}
		out, err := handle(r, in)
		answer(w, out, err)
	})
}

// onNode registers a handler for a path with {node}, a name or instance id.
// In is none for requests without a body.
func onNode[In, Out any](mux *http.ServeMux, s *Simulator, pattern string, handle func(Node, In) (Out, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		n, err := s.Node(r.PathValue("node"))
		if _, bodiless := any(in).(none); err == nil && !bodiless {
			err = decode(w, r, &in)
		}
		if err != nil {
			answer(w, none{}, err)
			return
		}
		out, err := handle(n, in)
		answer(w, out, err)
	})
}

func decode(w http.ResponseWriter, r *http.Request, in any) error {
	const maxBody = 1 << 20
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		return fmt.Errorf("%w: body: %w", errBadInput, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: body: more than one JSON value", errBadInput)
	}
	return nil
}

// answer writes the result.
func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusBadRequest
		var refused *cloud.Error
		if errors.Is(err, errNotFound) || errors.As(err, &refused) && strings.HasSuffix(refused.Code, ".NotFound") {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		out = errorBody{Error: err.Error()}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // errors quote what was sent
	_ = encoder.Encode(out)      // the client has gone
}

func (s *Simulator) info() Info {
	return Info{
		PID:           os.Getpid(),
		UserNamespace: netns.InUserNamespace(),
		EC2URL:        s.EC2URL(),
		NodeEC2URL:    s.NodeEC2URL(),
		AdminURL:      s.AdminURL(),
		Topology:      s.topology,
		Services:      list(s.Services()),
	}
}

func (s *Simulator) instanceInfo(n Node) InstanceInfo {
	info := InstanceInfo{Instance: n.Instance, ProviderID: n.ProviderID(), IMDS: n.IMDSURL, Env: s.Env(n)}
	if n.Namespace != nil {
		info.Namespace = n.Namespace.Path()
	}
	return info
}

func (s *Simulator) instanceInfos() []InstanceInfo {
	infos := []InstanceInfo{}
	for _, n := range s.Nodes() {
		infos = append(infos, s.instanceInfo(n))
	}
	return infos
}

func (s *Simulator) drops() ([]vpc.Drop, error) {
	if s.hosts.network == nil {
		return []vpc.Drop{}, nil
	}
	return s.hosts.network.Drops()
}

func (s *Simulator) callsSince(query url.Values) ([]cloud.Call, error) {
	calls := list(s.cloud.Calls())
	text := query.Get("since")
	if text == "" {
		return calls, nil
	}
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil, fmt.Errorf("%w: since: %w", errBadInput, err)
	}
	i := slices.IndexFunc(calls, func(c cloud.Call) bool { return !c.Time.Before(since) })
	if i < 0 {
		i = len(calls)
	}
	return calls[i:], nil
}

// count counts the calls that have ended.
func count(calls []cloud.Call) Counts {
	counts := make(Counts)
	for _, c := range calls {
		if c.Pending {
			continue
		}
		if counts[c.Action] == nil {
			counts[c.Action] = make(map[string]int)
		}
		code := c.Code
		setDefault(&code, "ok")
		counts[c.Action][code]++
	}
	return counts
}

// putTiming changes the fields that the body mentions.
func (s *Simulator) putTiming(w http.ResponseWriter, r *http.Request) {
	timing := s.cloud.Timing()
	err := decode(w, r, &timing)
	if err == nil {
		err = s.cloud.SetTiming(timing)
	}
	answer(w, timing, err)
}

// list makes an empty list of none, because null is not a list in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
