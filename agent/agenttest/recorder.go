package agenttest

import "github.com/aws-multi-eni/aws-multi-eni/internal/kube"

// Recorder is an agent.Recorder that keeps the Events' reasons.
type Recorder struct{ Reasons []string }

// Event implements agent.Recorder.
func (r *Recorder) Event(_ kube.ObjectReference, _, reason, _ string, _ ...any) {
	r.Reasons = append(r.Reasons, reason)
}
