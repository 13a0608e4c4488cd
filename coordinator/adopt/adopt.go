package adopt

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Run adopts the ENIs of the former controller, or gives them back.
type Run struct {
	Kube *kube.Client
	EC2  *eni.Client
	// Region is the one that EC2 is asked in.
	Region string
	// Cluster is the value of the tag networking.k8s.aws/cluster. Named says that it is not the
	// one that agents have by default.
	Cluster string
	Named   bool
	// Undo gives ENIs back. DryRun only shows what would be done.
	Undo, DryRun bool
	Out          io.Writer
}

// Unfinished is the error of a run after which there is something to do for a person. What
// was printed before says what.
type Unfinished string

func (u Unfinished) Error() string { return string(u) }

// ExitCode tells scripts this error from those after which nothing is known.
func (Unfinished) ExitCode() int { return 2 }

// Do reads, decides, shows, and acts unless this is a dry run or something stands against
// it. It may be interrupted and called again.
func (r *Run) Do(ctx context.Context) error {
	cluster, err := readCluster(ctx, r.Kube, r.Cluster)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; get the permissions of the ClusterRole in docs/migration.md", err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w; check that the kubeconfig belongs to the cluster that has the NodeENIs", err)
	case err != nil:
		return err
	}
	if err := r.checkName(ctx, cluster.own); err != nil {
		return err
	}
	account, err := readAccount(ctx, r.EC2, r.Region, cluster)
	if err != nil {
		return err
	}
	now := time.Now()
	blockers := cluster.former.blockers(now)
	rows, changes := decide(cluster, account), finalizers(cluster.NodeENIs)
	if r.Undo {
		rows, changes = giveBack(cluster, account, now)
		blockers = append(blockers, cluster.own.blockers(now)...)
	}
	r.say("Cluster %s in %s: %s, %s, %s.\n", r.Cluster, r.Region, number(len(cluster.NodeENIs), "NodeENI"), number(len(cluster.Nodes), "node"), number(len(rows), "ENI"))
	r.show(rows, changes)
	if len(blockers) > 0 {
		r.say("Stop these programs first:")
		for _, b := range blockers {
			r.say("- %s", b)
		}
		r.say("")
	}
	switch {
	case len(blockers) > 0:
		return Unfinished(fmt.Sprintf("nothing was changed: %s must be stopped first", number(len(blockers), "program")))
	case r.DryRun:
		return r.summary(rows, 0, "This was a dry run: nothing was changed. To act, run the command again with --dry-run=false.")
	}
	return r.act(ctx, rows, changes)
}

// act changes the tags, ENI by ENI, and then the NodeENIs. An error of one does not stop the
// others.
func (r *Run) act(ctx context.Context, rows []Row, changes []change) error {
	done, failed := r.tag(ctx, rows)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after %s; run the command again", number(done, "ENI"))
	}
	for _, c := range changes {
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted after the tags of %s; run the command again", number(done, "ENI"))
		}
		if err := c.apply(ctx, r.Kube); err != nil {
			failed++
			r.say("NodeENI %s: %v", c.nodeENI.Name, err)
		}
	}
	what := number(done, "ENI") + " adopted. Agents that start from now on use the ENIs as their own."
	if r.Named {
		what = fmt.Sprintf("%s adopted. Agents that start from now on use the ENIs as their own if they have the same cluster name: --cluster-name=%s, or clusterName in the Helm chart.", number(done, "ENI"), r.Cluster)
	}
	if r.Undo {
		what = number(done, "ENI") + " given back. Start the former controller: it finds its ENIs in status.attachments."
	}
	if done+failed+len(changes) == 0 {
		what = "There is nothing left to do."
	}
	return r.summary(rows, failed, what)
}

// maxDenials is the number of ENIs in a row after which no other one is tried: what IAM does
// not allow for them, it hardly allows for the rest.
const maxDenials = 3

// tag changes the tags. Of many ENIs, it reports on its way.
func (r *Run) tag(ctx context.Context, rows []Row) (done, failed int) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(row Row) bool { return row.Verdict != Adopt && row.Verdict != GiveBack })
	denials := 0
	for i, row := range rows {
		if ctx.Err() != nil {
			return done, failed
		}
		if denials == maxDenials {
			r.say("The other %s were not tried, because IAM denied the last %d.", number(len(rows)-i, "ENI"), denials)
			return done, failed + len(rows) - i
		}
		if i > 0 && i%100 == 0 {
			r.say("%d of %d ENIs ...", i, len(rows))
		}
		err := r.patiently(ctx, func(ctx context.Context) error {
			if row.Verdict == GiveBack {
				return r.EC2.Disown(ctx, row.ID, formerName(row.ENI))
			}
			return r.EC2.Adopt(ctx, row.ID, row.owner, row.userTags, formerName(row.ENI))
		})
		if denials++; !eni.IsUnauthorized(err) {
			denials = 0
		}
		if err != nil {
			failed++
			r.say("%s: %s", row.ID, inWords("", err))
			continue
		}
		done++
	}
	return done, failed
}

// throttled is how soon a call is repeated that EC2 throttles.
var throttled = backoff.Exponential{First: 250 * time.Millisecond, Max: 4 * time.Second}

// patiently repeats a call that EC2 throttles.
func (r *Run) patiently(ctx context.Context, call func(context.Context) error) error {
	for n := 0; ; n++ {
		attempt, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		err := call(attempt)
		cancel()
		if err == nil || !eni.IsThrottled(err) || throttled.Wait(ctx, n) != nil {
			return err
		}
	}
}

// summary counts the verdicts and says what happened. It returns an error when there is
// something to do for a person.
func (r *Run) summary(rows []Row, failed int, what string) error {
	counts := map[Verdict]int{}
	for _, row := range rows {
		counts[row.Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Adopt, GiveBack, Ours, Keep, Leftover, Skip, Gone, Refuse} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	if len(parts) > 0 {
		r.say("ENIs by action: %s.", strings.Join(parts, ", "))
	}
	r.say("%s", what)
	switch {
	case failed > 0:
		return Unfinished(fmt.Sprintf("%s failed; fix the causes above and run the command again", number(failed, "change")))
	case counts[Refuse] > 0:
		return Unfinished(fmt.Sprintf("%s refused; the messages above describe the causes and the fixes", number(counts[Refuse], "ENI")))
	}
	return nil
}

// show prints the decisions, and why for those that a person may have to do something about.
func (r *Run) show(rows []Row, changes []change) {
	if len(rows) > 0 {
		w := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tNODEENI\tENI\tSUBNET\tINDEX\tACTION")
		for _, row := range rows {
			index := ""
			if at := row.ENI.Attachment; at != nil {
				index = fmt.Sprint(at.DeviceIndex)
			}
			cells := []string{row.Node, row.NodeENI, row.ID, row.ENI.SubnetID, index, string(row.Verdict)}
			for i, text := range cells { // tags may hold anything
				cells[i] = cmp.Or(v1alpha1.Printable(text), "-")
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		_ = w.Flush()
		r.say("")
	}
	notes := false
	for _, row := range rows {
		if row.Reason != "" && row.Verdict != Ours && row.Verdict != Keep {
			r.say("%s (%s): %s", row.ID, row.Verdict, v1alpha1.Printable(row.Reason))
			notes = true
		}
		if row.Warning != "" {
			r.say("%s (%s): %s", row.ID, row.Verdict, v1alpha1.Printable(row.Warning))
			notes = true
		}
		if row.Verdict == Adopt && len(row.Changes) > 0 {
			r.say("%s: its agent will change %s", row.ID, v1alpha1.Printable(strings.Join(row.Changes, ", and ")))
			notes = true
		}
	}
	for _, c := range changes {
		r.say("NodeENI %s: %s", c.nodeENI.Name, c)
	}
	if notes || len(changes) > 0 {
		r.say("")
	}
}

func (r *Run) say(format string, args ...any) {
	fmt.Fprintf(r.Out, format+"\n", args...)
}
