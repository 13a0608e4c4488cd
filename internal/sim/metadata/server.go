// Package metadata simulates the instance metadata service (IMDSv2) of one
// instance of a [cloud.Cloud].
package metadata

import (
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	maxTTL      = 21600 // seconds, six hours
)

// Server is the metadata service of one instance. Version 1, without tokens,
// is off.
type Server struct {
	cloud      *cloud.Cloud
	instanceID string

	mu     sync.Mutex
	tokens map[string]time.Time // with their expiry
	faults []Fault
}

// New returns the metadata service of an instance.
func New(c *cloud.Cloud, instanceID string) *Server {
	return &Server{cloud: c, instanceID: instanceID, tokens: make(map[string]time.Time)}
}

// ServeHTTP answers as 169.254.169.254 does.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	lie, done := s.hit(w, r)
	if done {
		return
	}
	if r.URL.Path == "/latest/api/token" {
		s.serveToken(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if !s.valid(r.Header.Get(tokenHeader)) {
		refuse(w, http.StatusUnauthorized)
		return
	}
	m, err := s.cloud.Metadata(s.instanceID)
	if err != nil {
		refuse(w, http.StatusNotFound)
		return
	}
	body, ok := newTree(m, time.Now()).get(r.URL.Path)
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	if lie != "" {
		body = lie
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, body)
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.Method != http.MethodPut:
		w.Header().Set("Allow", "OPTIONS, PUT")
		refuse(w, http.StatusMethodNotAllowed)
	case r.Header.Get("X-Forwarded-For") != "": // came through a proxy
		refuse(w, http.StatusForbidden)
	case err != nil || ttl < 1 || ttl > maxTTL:
		refuse(w, http.StatusBadRequest)
	default:
		w.Header().Set(ttlHeader, strconv.Itoa(ttl))
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, s.newToken(time.Duration(ttl)*time.Second))
	}
}

func (s *Server) newToken(ttl time.Duration) string {
	token, now := rand.Text(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, expiry := range s.tokens {
		if now.After(expiry) {
			delete(s.tokens, old)
		}
	}
	s.tokens[token] = now.Add(ttl)
	return token
}

func (s *Server) valid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	expiry, ok := s.tokens[token]
	return ok && time.Now().Before(expiry)
}

// refuse answers with the small page that the metadata service sends.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	text := strconv.Itoa(status) + " - " + http.StatusText(status)
	_, _ = io.WriteString(w, strings.ReplaceAll("<html><head><title>TEXT</title></head><body><h1>TEXT</h1></body></html>\n", "TEXT", text))
}
