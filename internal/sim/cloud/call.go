package cloud

import "time"

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
	Latency   time.Duration     `json:"latency"`
	Pending   bool              `json:"pending,omitempty"` // still under way, Code and Latency are not known yet
	Lost      bool              `json:"lost,omitempty"`    // the caller got no answer
}
