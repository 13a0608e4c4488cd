package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Event types.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// Event is a core/v1 Event.
//
// +kubebuilder:object:root=true
type Event struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	InvolvedObject ObjectReference `json:"involvedObject"`
	Reason         string          `json:"reason"`
	Message        string          `json:"message"`
	Source         EventSource     `json:"source"`
	FirstTimestamp metav1.Time     `json:"firstTimestamp"`
	LastTimestamp  metav1.Time     `json:"lastTimestamp"`
	Count          int32           `json:"count"`
	Type           string          `json:"type"`
}

// EventSource names the program that reports, and its node.
//
// +kubebuilder:object:generate=true
type EventSource struct {
	Component string `json:"component"`
	Host      string `json:"host,omitempty"`
}

// ObjectReference names the object that an Event is about.
//
// +kubebuilder:object:generate=true
type ObjectReference struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Name       string    `json:"name"`
	UID        types.UID `json:"uid,omitempty"`
}

// NodeRef refers to a Node. Its "uid" is the name: that is what the kubelet
// writes and what kubectl describe looks for.
func NodeRef(name string) ObjectReference {
	return ObjectReference{APIVersion: "v1", Kind: "Node", Name: name, UID: types.UID(name)}
}

// eventNamespace is where Events about cluster-scoped objects belong.
const eventNamespace = "default"

// repeatAfter is how long the same Event is not written again. An API server
// keeps Events for an hour.
const repeatAfter = 10 * time.Minute

// Recorder writes Events in the background: nothing waits for them, and what
// cannot be written is logged and forgotten. client-go's recorder would do, but
// links all of k8s.io/api/core/v1 (5 MB) into every agent.
type Recorder struct {
	client *Client
	source EventSource
	log    *slog.Logger
	queue  chan queued

	mu   sync.Mutex
	last map[string]time.Time // when an Event was queued or written, by its key
}

// queued is an Event on its way, with the key by which it is known again.
type queued struct {
	*Event
	key string
}

// NewRecorder starts a recorder that ends with ctx.
func NewRecorder(ctx context.Context, client *Client, source EventSource, log *slog.Logger) *Recorder {
	r := &Recorder{client: client, source: source, log: log, queue: make(chan queued, 100), last: map[string]time.Time{}}
	go r.run(ctx)
	return r
}

// Event reports something about an object, at most once in ten minutes with the
// same words.
func (r *Recorder) Event(about ObjectReference, eventType, reason, format string, args ...any) {
	now := time.Now()
	r.write(about, uint64(now.UnixNano()), eventType, reason, fmt.Sprintf(format, args...), now)
}

// Once reports something that holds until a user changes it, such as a wrong
// setting: the Event is not written again while the API server has it,
// whatever process has written it.
func (r *Recorder) Once(about ObjectReference, eventType, reason, message string) {
	h := fnv.New64a()
	h.Write([]byte(reason + "\x00" + message))
	r.write(about, h.Sum64(), eventType, reason, message, time.Now())
}

// write queues the Event, unless the same one is queued or was written not long ago.
// Its number tells it from others about the same object.
func (r *Recorder) write(about ObjectReference, number uint64, eventType, reason, message string, now time.Time) {
	event := &Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      eventName(about.Name, number),
			Namespace: eventNamespace,
		},
		InvolvedObject: about,
		// What the admission policy takes: a word, and a line of the API server's
		// length.
		Reason:         word(reason),
		Message:        v1alpha1.Printable(truncate(message, 1024)),
		Source:         r.source,
		FirstTimestamp: metav1.NewTime(now),
		LastTimestamp:  metav1.NewTime(now),
		Count:          1,
		Type:           eventType,
	}
	key := about.Kind + "\x00" + about.Name + "\x00" + reason + "\x00" + message
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.last, func(_ string, at time.Time) bool { return now.Sub(at) >= repeatAfter })
	if _, repeated := r.last[key]; repeated {
		return
	}
	select {
	case r.queue <- queued{event, key}:
		r.last[key] = now
	default: // a full queue means an API server that is away; whoever reports it again may
	}
}

// lost has an Event that was not written be one that is news.
func (r *Recorder) lost(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, key)
}

// eventName is a name that the API server takes.
func eventName(about string, number uint64) string {
	suffix := fmt.Sprintf(".%x", number)
	const longest = 253
	return strings.TrimRight(about[:min(len(about), longest-len(suffix))], "-.") + suffix
}

func (r *Recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-r.queue:
			err := r.client.Core.Post().Namespace(eventNamespace).Resource("events").Body(runtime.Object(event.Event)).Timeout(10 * time.Second).Do(ctx).Error()
			if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
				r.lost(event.key)
				r.log.Warn("cannot write an Event", "about", event.InvolvedObject.Name, "reason", event.Reason, "error", err)
			}
		}
	}
}

// word leaves out what no reason holds; it may be the error code of something that is
// not EC2.
func word(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.:/", r)) {
			return r
		}
		return -1
	}, reason)
	return reason[:min(len(reason), 128)]
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..." // the cut may be within a character
}

// Warnings lists the warnings about a cluster-scoped object, in no order.
func (c *Client) Warnings(ctx context.Context, about types.UID) ([]Event, error) {
	selector := fields.Set{"involvedObject.uid": string(about), "type": EventWarning}
	body, err := c.Core.Get().Namespace(eventNamespace).Resource("events").Param("fieldSelector", selector.String()).
		Timeout(10 * time.Second).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("list Events: %w", err)
	}
	var list struct{ Items []Event }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read Events: %w", err)
	}
	return list.Items, nil
}
