package eni

import "testing"

func TestRemoval(t *testing.T) {
	at := func(index int32, status string) *Attachment { return &Attachment{DeviceIndex: index, Status: status} }
	for _, test := range []struct {
		name string
		eni  ENI
		want Removal
	}{
		{"attached", ENI{Status: "in-use", Attachment: at(2, "attached")}, RemovalDetach},
		{"being attached", ENI{Status: "in-use", Attachment: at(2, "attaching")}, RemovalDetach},
		{"being detached", ENI{Status: "in-use", Attachment: at(2, "detaching")}, RemovalWait},
		{"detached, not free yet", ENI{Status: "detaching"}, RemovalWait},
		{"just made", ENI{Status: "pending"}, RemovalWait},
		{"free", ENI{Status: "available"}, RemovalDelete},
		{"free, as an attachment that is over shows", ENI{Status: "available", Attachment: at(2, "detached")}, RemovalWait},
		{"a primary ENI", ENI{Status: "in-use", Attachment: at(0, "attached")}, RemovalRefuse},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.eni.Removal(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
