package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const imdsCheck = "IMDS"

func checkIMDS(f Facts) []Result {
	switch i := f.IMDS; {
	case i == nil:
		return nil
	case i.Err != nil:
		message, action := split(i.Err.Error(), "run the doctor on an EC2 instance, in the host's network")
		return []Result{failure(imdsCheck, action, "%s", message)}
	case i.Version1:
		return []Result{warning(imdsCheck, "require IMDSv2: aws ec2 modify-instance-metadata-options --http-tokens required",
			"IMDSv1 is enabled: an attacker who can make any process on the node fetch a URL gets the credentials of the instance")}
	default:
		return []Result{ok(imdsCheck, "version 2 works: %s, %s in %s", i.Identity.InstanceID, i.Identity.InstanceType, i.Identity.Zone)}
	}
}

const regionCheck = "Region"

// checkRegion: whether EC2 is asked in the Region that the instance is in. Elsewhere
// every answer is right, and about other things.
func checkRegion(f Facts) []Result {
	if f.IMDS == nil || f.IMDS.Err != nil || f.Credentials == nil || f.Credentials.Region == "" {
		return nil
	}
	asked, here := f.Credentials.Region, f.IMDS.Identity.Region
	if asked != here {
		return []Result{failure(regionCheck, fmt.Sprintf("set AWS_REGION (awsRegion in the Helm chart) to %s, or leave it out so that the Region comes from IMDS", here),
			"requests go to EC2 in %s, but this instance is in %s: the results for EC2 below are for the wrong Region", asked, here)}
	}
	return []Result{ok(regionCheck, "%s, the Region of this instance", here)}
}

// checkPlace: whether EC2 shows the instance at all. Every instance has its primary
// ENI, so its absence proves that another place was asked.
func checkPlace(f Facts) []Result {
	const check = "the instance's ENIs"
	if f.IMDS == nil || !f.EC2.misses() {
		return nil
	}
	who := f.IMDS.Identity
	return []Result{failure(check, fmt.Sprintf("check that the Region (%s), the account of the credentials (%s), and AWS_ENDPOINT_URL_EC2, if set, match the instance", who.Region, who.AccountID),
		"EC2 does not show the primary ENI of %s: the Region, account, or endpoint is wrong, so the results for EC2 below are not about this node", who.InstanceID)}
}

// misses says whether EC2 shows no primary ENI of the instance.
func (e *EC2) misses() bool {
	return e != nil && e.Forecast != nil && !slices.ContainsFunc(e.Forecast.Attached, isPrimary)
}

// checkCluster: whether ENIs of this instance bear another value of the cluster tag.
// The agent would not know them as its own, and make more.
func checkCluster(f Facts) []Result {
	const check = "--cluster-name"
	if f.IMDS == nil || f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	var results []Result
	for _, e := range f.EC2.Forecast.Attached {
		if e.Owner.Instance != f.IMDS.Identity.InstanceARN() || e.Owner.Cluster == f.EC2.Cluster {
			continue
		}
		if f.EC2.Cluster == "" {
			return []Result{skipped(check, "not checked, because the doctor could not read the cluster name from the API server")}
		}
		action := fmt.Sprintf("start agents and coordinators with --cluster-name %q. If that cluster no longer exists, detach and delete the ENI manually", e.Owner.Cluster)
		if f.Wanted.has(e.Owner) {
			results = append(results, failure(check, action, "the cluster name is %q, but %s, which was created for this instance and NodeENI %s, has the cluster tag %q: the agent would create another ENI", f.EC2.Cluster, e.ID, e.Owner.NodeENI, e.Owner.Cluster))
		} else {
			results = append(results, warning(check, action, "the cluster name is %q, but %s, which was created for this instance, has the cluster tag %q: agents and coordinators of this cluster do not manage it", f.EC2.Cluster, e.ID, e.Owner.Cluster))
		}
	}
	return results
}

// has says whether the owner's NodeENI is one of those that there are.
func (w *Wanted) has(o eni.Owner) bool {
	return w != nil && slices.ContainsFunc(w.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.UID == o.NodeENIUID })
}

const credentialsCheck = "credentials"

func checkCredentials(f Facts) []Result {
	c := f.Credentials
	switch {
	case c == nil && f.IMDS == nil:
		return nil
	case c == nil:
		return []Result{skipped(credentialsCheck, "not checked, because the Region is unknown: IMDS does not respond, and AWS_REGION is not set")}
	case c.Err != nil:
		what, do := eni.ExplainCredentials(c.Err)
		return []Result{failure(credentialsCheck, do+"; packaging/iam contains the required policies", "none: %s", what)}
	}
	switch kind, _, _ := strings.Cut(c.Source, ":"); kind {
	case "EC2RoleProvider":
		return []Result{ok(credentialsCheck, "from the instance profile")}
	case "WebIdentityCredentials", "CredentialsEndpointProvider":
		return []Result{ok(credentialsCheck, "from the role of a pod (%s). IAM cannot restrict them to this instance; see docs/security.md", kind)}
	default:
		return []Result{warning(credentialsCheck, "use the instance profile: unset AWS_ACCESS_KEY_ID and AWS_PROFILE",
			"from %s instead of a role: they do not expire, and IAM cannot restrict them to this instance", c.Source)}
	}
}

// needed are the actions of an agent in a cluster, removal those that one without
// adds.
var (
	needed = []string{
		"DescribeNetworkInterfaces", "DescribeSubnets", "DescribeSecurityGroups", "DescribeInstanceTypes",
		"CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute",
	}
	removal = []string{"DetachNetworkInterface", "DeleteNetworkInterface"}
)

func checkPermissions(f Facts) []Result {
	if f.EC2 == nil {
		if f.IMDS == nil {
			return nil
		}
		return []Result{skipped("EC2", "not checked, because this requires IMDS and credentials")}
	}
	actions := needed
	if f.Wanted != nil && f.Wanted.Standalone {
		actions = append(actions[:len(actions):len(actions)], removal...)
	}
	var results []Result
	for _, action := range actions {
		results = append(results, checkPermission(action, f.EC2))
	}
	return results
}

func checkPermission(action string, e *EC2) Result {
	check := "ec2:" + action
	var refused, other []Attempt
	tried := false
	for _, a := range e.Attempts {
		switch {
		case a.Action != action:
			continue
		case eni.IsUnauthorized(a.Err), eni.IsUnauthenticated(a.Err):
			refused = append(refused, a)
		case a.Err != nil:
			other = append(other, a)
		}
		tried = true
	}
	switch {
	case e.Done[action] && len(refused)+len(other) > 0:
		return ok(check, "allowed: the doctor made this call")
	case len(refused) > 0:
		what, do := eni.Explain(action, refused[0].Err)
		if action == "CreateNetworkInterface" && !eni.IsUnauthenticated(refused[0].Err) {
			do += ". Creating an ENI also requires ec2:CreateTags, and a policy that lists the tag keys of the NodeENI"
		}
		return failure(check, do, "not allowed%s: %s", about(refused), what)
	case len(other) > 0:
		what, do := eni.Explain(action, other[0].Err)
		return warning(check, do, "cannot determine whether it is allowed%s: %s", about(other), what)
	case !tried:
		why := e.Untried[action]
		if why == "" {
			why = "not tested"
		}
		return skipped(check, "%s", why)
	case action == "CreateNetworkInterface":
		return ok(check, "allowed, including ec2:CreateTags")
	default:
		return ok(check, "allowed")
	}
}

func about(attempts []Attempt) string {
	var names []string
	for _, a := range attempts {
		if a.About != "" {
			names = append(names, a.About)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " for " + strings.Join(names, ", ")
}
