package agenttest

import (
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Recorder is an agent.Recorder that keeps the Events' reasons and messages.
type Recorder struct{ Reasons, Messages []string }

// Event implements agent.Recorder.
func (r *Recorder) Event(_ kube.ObjectReference, _, reason, format string, args ...any) {
	r.Reasons, r.Messages = append(r.Reasons, reason), append(r.Messages, fmt.Sprintf(format, args...))
}
