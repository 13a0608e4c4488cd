// Package doctor tells whether an agent can do its work on this node, before it
// has to: credentials and permissions, subnets, limits, and what else on the host
// or in the cluster gets in the way. It never changes anything.
//
// Gatherers collect facts (gather_*.go), and checks judge them (check_*.go). A
// check is a pure function. Facts that could not be had make the checks that need
// them say so.
package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Status is a check's verdict.
type Status string

const (
	// OK: as it should be.
	OK Status = "ok"
	// Warning: ENIs work, but something may surprise.
	Warning Status = "warning"
	// Failure: there are ENIs that this node does not get, or that do not work.
	Failure Status = "failure"
	// Skipped: it is not known.
	Skipped Status = "skipped"
)

// Result is what a check has found.
type Result struct {
	Check   string `json:"check"`
	Status  Status `json:"status"`
	Message string `json:"message"`
	// Action is what to do about it.
	Action string `json:"action,omitempty"`
}

// Reason is the check's name in the form of an Event's reason.
func (r Result) Reason() string {
	reason := "Preflight"
	upper := true
	for _, c := range r.Check {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			if upper && c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			reason, upper = reason+string(c), false
		default:
			upper = true
		}
	}
	return reason
}

// Check judges the facts.
func Check(f Facts) []Result {
	return slices.Concat(
		checkIMDS(f), checkRegion(f), checkCredentials(f), checkPlace(f), checkCluster(f), checkWanted(f), checkPermissions(f),
		checkNodeENIs(f), checkSubnets(f), checkGroups(f), checkInstanceType(f), checkLimit(f), checkENAExpress(f), checkDeviceIndexes(f),
		checkCNI(f), checkCNIVersion(f), checkSNAT(f), checkNodeIP(f), checkKernel(f), checkRouters(f), checkAdvertisements(f), checkReversePaths(f), checkHost(f), checkNodeadm(f), checkPods(f), checkOnDemand(f),
	)
}

// Bad are the results that somebody should look at.
func Bad(results []Result) []Result {
	return slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.Status != Failure && r.Status != Warning })
}

// Failed says whether any check has failed.
func Failed(results []Result) bool {
	return slices.ContainsFunc(results, func(r Result) bool { return r.Status == Failure })
}

// split takes what to do off a message that says it behind its last semicolon.
func split(text, fallback string) (message, action string) {
	if i := strings.LastIndex(text, "; "); i > 0 {
		return text[:i], text[i+2:]
	}
	return text, fallback
}

func ok(check, format string, args ...any) Result {
	return Result{Check: check, Status: OK, Message: fmt.Sprintf(format, args...)}
}

func skipped(check, format string, args ...any) Result {
	return Result{Check: check, Status: Skipped, Message: fmt.Sprintf(format, args...)}
}

func warning(check, action, format string, args ...any) Result {
	return Result{Check: check, Status: Warning, Message: fmt.Sprintf(format, args...), Action: action}
}

func failure(check, action, format string, args ...any) Result {
	return Result{Check: check, Status: Failure, Message: fmt.Sprintf(format, args...), Action: action}
}
