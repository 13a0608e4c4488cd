package files

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A change of the node's labels is believed when it is told twice, and what cannot
// be had, or is told once, takes no ENI away.
func TestFollowLabels(t *testing.T) {
	type labels = map[string]string
	with, without := labels{"ng": "multi-eni"}, labels{}
	for _, test := range []struct {
		name    string
		answers []any // labels, or an error; the last one for ever
		want    string
		after   time.Duration // the change
	}{
		{"no change", []any{with}, "multi-eni", 0},
		{"a change", []any{without}, "", labelsEvery + labelsAgain},
		{"a slip", []any{without, with}, "multi-eni", 0},
		{"no answer", []any{errors.New("away")}, "multi-eni", 0},
		{"no answer after a slip", []any{without, errors.New("away"), without, with}, "multi-eni", 0},
		{"a change after no answer", []any{errors.New("away"), without}, "", 2*labelsEvery + labelsAgain},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := &Source{changed: make(chan struct{}, 1), labels: with, cfg: Config{Log: quiet, AskLabels: func(context.Context) (map[string]string, error) {
					answer := test.answers[min(asked, len(test.answers)-1)]
					asked++
					if err, ok := answer.(error); ok {
						return nil, err
					}
					return answer.(labels), nil
				}}}
				go s.followLabels(t.Context())
				began := time.Now()
				select {
				case <-s.changed:
					if took := time.Since(began); took != test.after {
						t.Errorf("a change after %v, want %v", took, test.after)
					}
				case <-time.After(10 * labelsEvery):
					if test.after != 0 {
						t.Error("no change")
					}
				}
				if got := s.currentLabels()["ng"]; got != test.want {
					t.Errorf("the label is %q, want %q", got, test.want)
				}
			})
		})
	}
}
