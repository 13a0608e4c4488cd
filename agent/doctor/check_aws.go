package doctor

import (
	"fmt"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const imdsCheck = "IMDS"

func checkIMDS(f Facts) []Result {
	switch i := f.IMDS; {
	case i == nil:
		return nil
	case i.Err != nil:
		message, action := split(i.Err.Error(), "run on the host's network of an EC2 instance")
		return []Result{failure(imdsCheck, action, "%s", message)}
	case i.Version1:
		return []Result{warning(imdsCheck, "set the instance's HttpTokens metadata option to required: aws ec2 modify-instance-metadata-options --http-tokens required",
			"version 2 answers, but so does version 1: any process that can be made to fetch a URL gets at the instance's credentials")}
	default:
		return []Result{ok(imdsCheck, "version 2 answers: %s, %s in %s", i.Identity.InstanceID, i.Identity.InstanceType, i.Identity.Zone)}
	}
}

const credentialsCheck = "credentials"

func checkCredentials(f Facts) []Result {
	c := f.Credentials
	switch {
	case c == nil && f.IMDS == nil:
		return nil
	case c == nil:
		return []Result{skipped(credentialsCheck, "the Region is not known: IMDS does not tell, and AWS_REGION is not set")}
	case c.Err != nil:
		return []Result{failure(credentialsCheck, "give the instance an instance profile, or the agent's ServiceAccount a role by IRSA or EKS Pod Identity; see packaging/iam", "there are none: %v", c.Err)}
	}
	switch kind, _, _ := strings.Cut(c.Source, ":"); kind {
	case "EC2RoleProvider":
		return []Result{ok(credentialsCheck, "of the instance profile")}
	case "WebIdentityCredentials", "CredentialsEndpointProvider":
		return []Result{ok(credentialsCheck, "of a pod's role (%s). IAM cannot confine those to this instance; see docs/security.md", kind)}
	default:
		return []Result{warning(credentialsCheck, "use the instance profile: unset AWS_ACCESS_KEY_ID and AWS_PROFILE",
			"they come from %s, not from a role: they do not expire, and IAM cannot confine them to this instance", c.Source)}
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
		return []Result{skipped("EC2", "is not asked without IMDS and credentials")}
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
		case eni.IsUnauthorized(a.Err):
			refused = append(refused, a)
		case a.Err != nil:
			other = append(other, a)
		}
		tried = true
	}
	switch {
	case len(refused) > 0:
		allow := "allow " + check + " in the IAM policy of the agent's role; packaging/iam has the policies"
		if action == "CreateNetworkInterface" {
			allow += ". A create needs ec2:CreateTags too, and the keys of the NodeENI's tags listed there"
		}
		return failure(check, allow, "not allowed%s: %s", about(refused), plain(refused[0].Err))
	case len(other) > 0:
		return warning(check, "try again, or see what is wrong with that", "EC2 does not tell%s: %s", about(other), plain(other[0].Err))
	case !tried:
		why := e.Untried[action]
		if why == "" {
			why = "it has not been tried"
		}
		return skipped(check, "%s", why)
	case action == "CreateNetworkInterface":
		return ok(check, "allowed, with its tags (ec2:CreateTags)")
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

// plain is EC2's message without the SDK's wrapping.
func plain(err error) string {
	code := eni.Code(err)
	if code == "" {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s", code, eni.Message(err))
}
