package agent

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What is believed of an attachment when a describe says otherwise.
func TestAttachmentBelieved(t *testing.T) {
	now := time.Unix(10_000, 0)
	recently, longAgo := now.Add(-settledAfter+1), now.Add(-settledAfter)
	attachment := func(id, status string) *eni.Attachment {
		return &eni.Attachment{ID: id, InstanceID: me, DeviceIndex: 2, Status: status}
	}
	own, other := attachment("own", "attached"), attachment("other", "attached")
	same, detaching := attachment("own", "attached"), attachment("own", "detaching")
	for _, test := range []struct {
		name              string
		own               *eni.Attachment
		attached, changed time.Time
		shown, want       *eni.Attachment
	}{
		{"none of our own", nil, time.Time{}, recently, other, other},
		{"not shown yet", own, recently, time.Time{}, nil, own},
		{"gone", own, longAgo, time.Time{}, nil, nil},
		{"gone, though an attribute was changed", own, longAgo, recently, nil, nil},
		{"gone, and its link has vanished", own, time.Time{}, recently, nil, nil},
		{"an older one", own, recently, recently, other, own},
		{"a newer one", own, longAgo, recently, other, other},
		{"as before our change of DeleteOnTermination", own, longAgo, recently, same, own},
		{"as it is", own, longAgo, longAgo, same, same},
		{"on its way out", own, recently, recently, detaching, detaching},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := tracked{attached: test.attached, changed: test.changed}
			e.Attachment = test.own
			if got := e.attachment(test.shown, now); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// An ENI that is known stays that of its NodeENI when somebody removes the tag: it
// would be given up, and made again by the same token, without end.
func TestTagRemoved(t *testing.T) {
	shown := eniFor("eni-a", "", subnetA).ENI
	if got := eniFor("eni-a", "x", subnetA).refreshed(shown, time.Unix(10_000, 0)).slot(); got != (slot{"x", subnetA}) {
		t.Errorf("it is at %v", got)
	}
}
