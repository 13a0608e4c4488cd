package cloud

import (
	"errors"
	"sync"
	"time"
)

// Call is one API call as it was logged, whatever became of it.
type Call struct {
	Time      time.Time         `json:"time"` // of its arrival
	Action    string            `json:"action"`
	SourceID  string            `json:"sourceID,omitempty"`  // the caller's access key id
	UserAgent string            `json:"userAgent,omitempty"` // of the SDK or CLI
	Params    map[string]string `json:"params,omitempty"`    // as sent, without Action and Version
	RequestID string            `json:"requestID"`
	Code      string            `json:"code,omitempty"` // EC2's error code; "" is success
	Message   string            `json:"message,omitempty"`
	Latency   time.Duration     `json:"latency"`           // in nanoseconds
	Pending   bool              `json:"pending,omitempty"` // still under way, Code and Latency are not known yet
	Lost      bool              `json:"lost,omitempty"`    // the caller got no answer
}

// maxLogged bounds the log; beyond it the older half is forgotten.
const maxLogged = 200_000

// callLog is the log of API calls in the order of their arrival.
type callLog struct {
	mu    sync.Mutex
	calls []*Call
}

func (l *callLog) begin(r Request) *Call {
	call := &Call{
		Time:      time.Now(),
		Action:    r.Action,
		SourceID:  r.SourceID,
		UserAgent: r.UserAgent,
		Params:    r.Params,
		RequestID: r.RequestID,
		Pending:   true,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.calls) >= maxLogged {
		l.calls = append([]*Call(nil), l.calls[maxLogged/2:]...)
	}
	l.calls = append(l.calls, call)
	return call
}

func (l *callLog) end(call *Call, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	call.Code, call.Message = codeOf(err)
	call.Latency = time.Since(call.Time)
	call.Pending = false
	call.Lost = errors.Is(err, ErrNoAnswer)
}

// Calls returns the logged API calls in the order of their arrival, the last
// 100,000 at least.
func (c *Cloud) Calls() []Call {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	calls := make([]Call, len(c.log.calls))
	for i, call := range c.log.calls {
		calls[i] = *call
	}
	return calls
}

// ResetCalls empties the log.
func (c *Cloud) ResetCalls() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.log.calls = nil
}

// CountCalls counts calls by their action, whatever became of them.
func CountCalls(calls []Call) map[string]int {
	count := make(map[string]int)
	for _, call := range calls {
		count[call.Action]++
	}
	return count
}
