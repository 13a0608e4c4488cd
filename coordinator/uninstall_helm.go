package coordinator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	uninstallJob = "eni-uninstall" // the chart's, a hook that Helm runs before it deletes a release
	installed    = "eni-installed" // a ConfigMap that Helm makes when an installation has succeeded

	// maxRollbacks is the number of revisions after its own whose records the Job may read:
	// a rollback brings back the Job of an earlier revision, under a new revision's number.
	maxRollbacks = 50

	// recordAge is the most between Helm's last write of its record and the creation of the
	// Job. Both times are the API server's.
	recordAge = 2 * time.Minute
)

// Release is a Helm release whose uninstall deletes all NodeENIs. Helm's own record proves the
// uninstall. The Job alone does not: it is part of every rendered chart, and applying that must
// not destroy anything.
type Release struct {
	// Storage is the namespace of Helm's records, Name the release's name.
	Storage, Name string
	// Revision is the one for which the Job was rendered.
	Revision int
}

var releaseSyntax = regexp.MustCompile(`^([a-z0-9-]+)/([a-z0-9.-]+)\.v([1-9][0-9]{0,8})$`)

// ParseRelease reads NAMESPACE/NAME.vREVISION.
func ParseRelease(s string) (Release, error) {
	m := releaseSyntax.FindStringSubmatch(s)
	if m == nil {
		return Release{}, fmt.Errorf("%q is not NAMESPACE/NAME.vREVISION, such as eni-system/eni.v1", s)
	}
	revision, err := strconv.Atoi(m[3])
	return Release{Storage: m[1], Name: m[2], Revision: revision}, err
}

// record names the object in which Helm keeps a revision.
func (r Release) record(revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", r.Name, revision)
}

// Errors after which another try would not help: nothing has to be deleted, or nothing must
// be.
type (
	errNothingToDo struct{ error }
	errRefused     struct{ error }
)

func nothingToDo(format string, args ...any) error {
	return errNothingToDo{fmt.Errorf(format, args...)}
}

func refuse(format string, args ...any) error {
	return errRefused{fmt.Errorf("refused to uninstall, nothing was deleted: "+format, args...)}
}

// RunFor is Run if Helm is uninstalling the release, and otherwise deletes nothing. With crds it
// also deletes the CRDs in the end.
func (u *Uninstall) RunFor(ctx context.Context, r Release, crds bool) error {
	err := u.retry(ctx, func() error { return u.check(ctx, r, crds) })
	if errors.As(err, new(errNothingToDo)) {
		u.say("Done: %v.", err)
		return nil
	}
	if err == nil {
		err = u.Run(ctx)
	}
	if err == nil {
		err = u.retry(ctx, func() error { return u.removeRest(ctx, crds) })
	}
	return err
}

// retry calls do until it succeeds, or another try would not help: rights come into force some
// time after the roles have been created.
func (u *Uninstall) retry(ctx context.Context, do func() error) error {
	var problem string
	for {
		err := do()
		if err == nil || errors.As(err, new(errNothingToDo)) || errors.As(err, new(errRefused)) {
			return err
		}
		if ctx.Err() != nil {
			return (&progress{problem: problem}).unfinished(ctx)
		}
		problem = u.sayProblem(err, problem)
		select {
		case <-ctx.Done():
		case <-time.After(u.Poll):
		}
	}
}

// removeRest deletes what Helm does not: the mark of the installation, and the CRDs.
func (u *Uninstall) removeRest(ctx context.Context, crds bool) error {
	paths := []string{"/api/v1/namespaces/" + u.Namespace + "/configmaps/" + installed}
	if crds {
		for _, resource := range []string{kube.NodeENIs, kube.NodeENIStates} {
			paths = append(paths, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+resource+"."+v1alpha1.GroupVersion.Group)
		}
	}
	for _, path := range paths {
		err := u.Kube.Core.Delete().AbsPath(path).Timeout(apiTimeout).Do(ctx).Error()
		if err != nil && !kube.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", path, err)
		}
	}
	return nil
}

// check returns nil if Helm is uninstalling the release, and there is something to delete.
func (u *Uninstall) check(ctx context.Context, r Release, crds bool) error {
	all, err := u.list(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 && !crds {
		reported, err := unconfirmed(ctx, u.Kube, nil, time.Time{})
		if err != nil {
			return err
		}
		if len(reported) == 0 {
			return nothingToDo("no NodeENIs exist, so no ENIs exist either")
		}
	}
	job, err := u.Kube.Metadata(ctx, "/apis/batch/v1/namespaces", u.Namespace, "jobs", uninstallJob)
	if err != nil {
		return fmt.Errorf("get the Job %s/%s: %w", u.Namespace, uninstallJob, err)
	}
	records, err := u.records(ctx, r)
	if err != nil {
		return err
	}
	mark, err := u.Kube.Metadata(ctx, "/api/v1/namespaces", u.Namespace, "configmaps", installed)
	if err != nil {
		return fmt.Errorf("get the ConfigMap %s/%s: %w", u.Namespace, installed, err)
	}
	return r.check(job, records, mark)
}

// records are Helm's records of the release, oldest first, in Secrets or in ConfigMaps.
func (u *Uninstall) records(ctx context.Context, r Release) ([]*metav1.PartialObjectMetadata, error) {
	var all []*metav1.PartialObjectMetadata
	for _, kind := range []string{"secrets", "configmaps"} {
		for revision := r.Revision; revision <= r.Revision+maxRollbacks; revision++ {
			record, err := u.Kube.Metadata(ctx, "/api/v1/namespaces", r.Storage, kind, r.record(revision))
			if err != nil {
				return nil, fmt.Errorf("get the Helm record of the release %s: %w", r.Name, err)
			}
			if record != nil {
				all = append(all, record)
			}
		}
		if len(all) > 0 {
			break
		}
	}
	return all, nil
}

// check returns nil if the newest record says that Helm was uninstalling the release when it
// created the Job. There is a mark once an installation has succeeded.
func (r Release) check(job *metav1.PartialObjectMetadata, records []*metav1.PartialObjectMetadata, mark *metav1.PartialObjectMetadata) error {
	const byHand = "To delete all NodeENIs and their ENIs, run kubectl delete nodeenis --all while the coordinator is running"
	if job == nil {
		return refuse("--helm-release is only for the Job %s of helm uninstall, which does not exist. %s", uninstallJob, byHand)
	}
	if len(records) == 0 {
		return refuse("the namespace %s has no Helm record of the release %s with revision %d or later. "+
			"The output of helm template can only be used to install. %s. "+
			"If Helm stores its records in another namespace, as Flux does, set uninstall.helmStorageNamespace in the chart; "+
			"if it stores them in a database, run that command and then helm uninstall --no-hooks",
			r.Storage, r.Name, r.Revision, byHand)
	}
	newest := records[len(records)-1]
	if status := newest.Labels["status"]; status != "uninstalling" {
		return refuse("the status of the release %[2]s in the Helm record %[1]s is %[3]s, so Helm did not create this Job to uninstall the release. %[4]s",
			newest.Name, r.Name, status, byHand)
	}
	began := written(newest)
	if job.CreationTimestamp.Sub(began).Abs() > recordAge {
		return refuse("Helm recorded at %s that it is uninstalling the release %s, but this Job was created at %s, so it does not belong to an uninstall. "+
			"Run helm uninstall again", utc(began), r.Name, utc(job.CreationTimestamp.Time))
	}
	if newest.Name == r.record(1) && (mark == nil || mark.CreationTimestamp.Before(&newest.CreationTimestamp)) {
		return nothingToDo("the release %s was not installed successfully, and Helm is removing it; NodeENIs and their ENIs stay", r.Name)
	}
	return nil
}

// written is when the record was last written, or zero if it has no managedFields. Helm's label
// modifiedAt does not show it: when Helm 4 uninstalls, the label keeps the time of the previous
// write (Query in its pkg/storage/driver/secrets.go does not filter it out).
func written(record *metav1.PartialObjectMetadata) time.Time {
	var last time.Time
	for _, entry := range record.ManagedFields {
		if entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
