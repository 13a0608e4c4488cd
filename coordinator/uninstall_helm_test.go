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
	object := func(name string, age time.Duration, labels ...string) *metav1.PartialObjectMetadata {
		o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(now.Add(-age)), Labels: map[string]string{},
		}}
		if len(labels) > 0 {
			o.Labels["status"], o.Labels["modifiedAt"] = labels[0], labels[1]
		}
		return o
	}
	unix := func(age time.Duration) string { return strconv.FormatInt(now.Add(-age).Unix(), 10) }
	record := func(revision int, status string, modified time.Duration) *metav1.PartialObjectMetadata {
		return object(Release{Name: "eni"}.record(revision), time.Hour, status, unix(modified))
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
		"helm uninstall":                 {job: job, records: objects{record(1, "uninstalling", time.Second)}, mark: mark},
		"a clock that is a minute ahead": {job: job, records: objects{record(1, "uninstalling", -time.Minute)}, mark: mark},
		"after upgrades":                 {job: job, records: objects{record(6, "superseded", time.Hour), record(7, "uninstalling", 0)}},
		"a rendered chart":               {job: job, mark: mark, want: "no Helm record of the release eni with revision 1 or later"},
		"by hand, without the Job":       {records: objects{record(1, "uninstalling", 0)}, mark: mark, want: "which does not exist"},
		"deployed":                       {job: job, records: objects{record(1, "deployed", 0)}, mark: mark, want: "is deployed"},
		"uninstalled, history kept":      {job: job, records: objects{record(1, "uninstalled", 0)}, mark: mark, want: "is uninstalled"},
		"rolled back after an uninstall that failed": {
			job: job, records: objects{record(1, "uninstalling", 0), record(2, "deployed", 0)}, mark: mark, want: "is deployed",
		},
		"an uninstall that failed an hour ago": {job: job, records: objects{record(1, "uninstalling", time.Hour)}, mark: mark, want: "does not belong to an uninstall"},
		"a clock that is an hour ahead":        {job: job, records: objects{record(1, "uninstalling", -time.Hour)}, mark: mark, want: "Check the clock"},
		"a record without a time":              {job: job, records: objects{object(Release{Name: "eni"}.record(1), time.Hour, "uninstalling", "")}, mark: mark, want: `modifiedAt is ""`},
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
