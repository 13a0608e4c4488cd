package coordinator

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What counts for an uninstall: Helm's own record of the release, made with the Job.
func TestReleaseCheck(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	object := func(name string, age time.Duration) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-age))}}
	}
	// Helm leaves the label modifiedAt at the write before.
	record := func(revision int, status string, written time.Duration) *metav1.PartialObjectMetadata {
		o := object(Release{Name: "eni"}.record(revision), time.Hour)
		o.Labels = map[string]string{"status": status, "modifiedAt": strconv.FormatInt(now.Add(-50*time.Minute).Unix(), 10)}
		first, last := metav1.NewTime(now.Add(-50*time.Minute)), metav1.NewTime(now.Add(-written))
		o.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &first}, {}, {Time: &last}}
		return o
	}
	type objects = []*metav1.PartialObjectMetadata
	job, mark := object(uninstallJob, 0), object(installed, 59*time.Minute)
	for name, test := range map[string]struct {
		job     *metav1.PartialObjectMetadata
		records objects
		mark    *metav1.PartialObjectMetadata
		want    string // of the refusal
		keep    bool   // what the refusal is
	}{
		"helm uninstall":            {job: job, records: objects{record(1, "uninstalling", time.Second)}, mark: mark},
		"after upgrades":            {job: job, records: objects{record(6, "superseded", time.Hour), record(7, "uninstalling", 0)}},
		"a rendered chart":          {job: job, mark: mark, want: "no Helm record of the release eni with revision 1 or later"},
		"by hand, without the Job":  {records: objects{record(1, "uninstalling", 0)}, mark: mark, want: "which does not exist"},
		"deployed":                  {job: job, records: objects{record(1, "deployed", 0)}, mark: mark, want: "is deployed"},
		"uninstalled, history kept": {job: job, records: objects{record(1, "uninstalled", 0)}, mark: mark, want: "is uninstalled"},
		"rolled back after an uninstall that failed": {
			job: job, records: objects{record(1, "uninstalling", 0), record(2, "deployed", 0)}, mark: mark, want: "is deployed",
		},
		"an uninstall that failed an hour ago": {job: job, records: objects{record(1, "uninstalling", time.Hour)}, mark: mark, want: "does not belong to an uninstall"},
		"a record that is written later":       {job: job, records: objects{record(1, "uninstalling", -time.Hour)}, mark: mark, want: "does not belong to an uninstall"},
		"an installation that failed":          {job: job, records: objects{record(1, "uninstalling", 0)}, want: "was not installed successfully", keep: true},
		"an installation that failed, after another one": {
			job: job, records: objects{record(1, "uninstalling", 0)}, mark: object(installed, 2*time.Hour), want: "was not installed successfully", keep: true,
		},
	} {
		err := Release{Storage: "eni-system", Name: "eni", Revision: 1}.check(test.job, test.records, test.mark)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.As(err, new(errNothingToDo)) != test.keep {
			t.Errorf("%s: %v (%T), want %q", name, err, err, test.want)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]Release{
		"eni-system/eni.v1":     {"eni-system", "eni", 1},
		"flux-system/a.b.v2.v3": {"flux-system", "a.b.v2", 3},
		"eni.v1":                {},
		"eni-system/eni":        {},
		"eni-system/eni.v0":     {},
		"/eni.v1":               {},
		"eni-system/../x.v1":    {},
		"":                      {},
	} {
		if got, err := ParseRelease(text); got != want || (err == nil) == (want == Release{}) {
			t.Errorf("%q is %+v (%v), want %+v", text, got, err, want)
		}
	}
}
