package metadata

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault makes requests to the metadata service go wrong. Of several faults
// that match a request, the one that was injected first hits it.
type Fault struct {
	Path  string `json:"path,omitempty"`  // only requests below this path, for example /latest/meta-data/network; "": all
	Skip  int    `json:"skip,omitempty"`  // let the first n matching requests pass
	Count int    `json:"count,omitempty"` // hit that many requests; 0: until cleared

	// Delay comes before everything else, in JSON in the notation of Go: "1.5s".
	Delay Duration `json:"delay,omitempty"`
	// Status is the answer, for example 503 (unavailable, throttled) or 404.
	Status int `json:"status,omitempty"`
	// Hang never answers.
	Hang bool `json:"hang,omitempty"`
	// Body is answered instead of the truth, wherever the truth is not 404.
	Body string `json:"body,omitempty"`
}

// Duration is a time.Duration that is text in JSON.
type Duration time.Duration

// MarshalText formats the duration as in "1.5s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration such as "1.5s".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

func (f Fault) validate() error {
	switch {
	case f.Skip < 0 || f.Count < 0 || f.Delay < 0:
		return fmt.Errorf("metadata fault: skip %d, count %d, delay %v: want 0 or more", f.Skip, f.Count, time.Duration(f.Delay))
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("metadata fault: status %d: want 400 to 599", f.Status)
	case f.Body != "" && (f.Status != 0 || f.Hang):
		return fmt.Errorf("metadata fault: a body goes with no status or hang")
	case f.Status == 0 && f.Delay == 0 && !f.Hang && f.Body == "":
		return fmt.Errorf("metadata fault: has no effect: want a status, delay, hang or body")
	case f.Path != "" && !strings.HasPrefix(f.Path, "/"):
		return fmt.Errorf("metadata fault: path %q: want one that begins with /latest", f.Path)
	}
	return nil
}

// Inject adds a fault.
func (s *Server) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
	return nil
}

// Faults returns the faults that are in force, with the counts that are left.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults)
}

// ClearFaults removes every fault. Requests that hang go on hanging until
// their client gives up.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// hit carries out the fault that matches the request, and reports what is to be
// answered instead of the truth, and whether the request is done with.
func (s *Server) hit(w http.ResponseWriter, r *http.Request) (lie string, done bool) {
	f, ok := s.match(r.URL.Path)
	if !ok {
		return "", false
	}
	if f.Hang {
		<-r.Context().Done()
		return "", true
	}
	select {
	case <-time.After(time.Duration(f.Delay)):
	case <-r.Context().Done():
		return "", true
	}
	if f.Status != 0 {
		refuse(w, f.Status)
	}
	return f.Body, f.Status != 0
}

// match finds the fault for a path and uses up one of its counts.
func (s *Server) match(path string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		switch {
		case !strings.HasPrefix(path, f.Path):
		case f.Skip > 0:
			f.Skip--
		default:
			hit := *f
			if f.Count == 1 {
				s.faults = slices.Delete(s.faults, i, i+1)
			} else if f.Count > 1 {
				f.Count--
			}
			return hit, true
		}
	}
	return Fault{}, false
}
