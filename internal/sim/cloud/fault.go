package cloud

import "time"

// Fault makes API calls go wrong. The zero value of a condition matches every
// call, the zero value of an effect has none; conditions must all be met.
type Fault struct {
	// Conditions.
	Action      string  `json:"action"`                // as in the EC2 API; "" and "*" match every action
	ResourceID  string  `json:"resourceID,omitempty"`  // only calls that name this ENI, instance, subnet ..., also through an attachment or a filter
	SourceID    string  `json:"sourceID,omitempty"`    // only calls of this access key id
	Skip        int     `json:"skip,omitempty"`        // let the first n matching calls pass
	Count       int     `json:"count,omitempty"`       // hit that many calls; 0: until cleared
	Probability float64 `json:"probability,omitempty"` // of hitting a matching call; 0: always

	// Effects.
	Delay      time.Duration `json:"delay,omitempty"` // before the call is carried out
	Code       string        `json:"code,omitempty"`  // the call is not carried out and fails with this code
	Message    string        `json:"message,omitempty"`
	HTTPStatus int           `json:"httpStatus,omitempty"` // default: what EC2 sends with the code
	// After carries the call out first. Then it fails with Code, or, without
	// one, its reply is lost: the connection is closed without an answer.
	After bool `json:"after,omitempty"`
	// Hang never answers; the call is only carried out with After.
	Hang bool `json:"hang,omitempty"`
}
