package eni

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/smithy-go"
)

// Advice puts an error of a call to EC2 into words: what is wrong, and what to do
// about it. action is EC2's name of the call.
func Advice(action string, err error) string {
	what, do := Explain(action, err)
	return what + "; " + do
}

// Explain is Advice in its two parts. Without an action, the error's own counts.
func Explain(action string, err error) (what, do string) {
	var operation *smithy.OperationError
	if action == "" && errors.As(err, &operation) {
		action = operation.OperationName
	}
	var foreign *foreignAnswer
	switch {
	case lacksCredentials(err):
		return explainCredentials(action, err)
	case errors.As(err, &foreign):
		return fmt.Sprintf("the answer to %s is not EC2's: %v", action, foreign),
			"see whether a proxy or a firewall stands in between, and whether the endpoint's URL is right; it is tried again"
	case IsThrottled(err):
		// Without EC2's text: it holds a request id, and every attempt would
		// look like news.
		return fmt.Sprintf("EC2 throttles %s (%s) for this account and Region", action, Code(err)), "it is tried again"
	case is(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
		return explainDenial(action, err)
	case isSubnetFragmented(err):
		return fmt.Sprintf("the subnet has no free range for another prefix: EC2 refused %s (%s: %s)", action, Code(err), Message(err)),
			"reserve a range of the subnet for prefixes (a CIDR reservation of type prefix), or list another subnet of this zone; it is tried again"
	case IsSubnetFull(err):
		return fmt.Sprintf("the subnet has no free address left: EC2 refused %s (%s: %s)", action, Code(err), Message(err)),
			"free addresses in the subnet, or list another subnet of this zone; it is tried again"
	case Code(err) == "":
		what, do := explainSilence(err, "EC2's endpoint")
		return fmt.Sprintf("%s got no answer from EC2: %s", action, what), "it is tried again; if that goes on, " + do
	case is(err, "UnknownError"): // the SDK's word for an error without a code
		return fmt.Sprintf("EC2 answered %s with HTTP %d and an error without a code", action, statusOf(err)),
			"it is tried again; if that goes on, see what stands between this node and EC2"
	}
	return fmt.Sprintf("EC2 refused %s (%s: %s)", action, Code(err), Message(err)), remedy(err)
}

// remedy is what to do about a refusal.
func remedy(err error) string {
	switch {
	case IsUnauthenticated(err):
		return "see that the credentials are valid and that the clock is right"
	case IsAttachmentLimit(err):
		return "choose an instance type that takes more ENIs, or ask for fewer on this node"
	case IsAddressLimit(err):
		return "choose an instance type whose ENIs take more addresses, or ask for fewer addresses or prefixes: a prefix counts as one address, and so does the primary IPv4 address"
	case isUnsupported(err):
		return "choose an instance type and a subnet that support what the NodeENI asks for, or take it out of the NodeENI"
	case is(err, "NetworkInterfaceLimitExceeded"):
		return "raise the Region's quota of network interfaces, or delete unused ones"
	case is(err, "SecurityGroupsPerInterfaceLimitExceeded"):
		return "list fewer security groups, or raise the quota of security groups per network interface"
	case IsGroupGone(err), is(err, "InvalidGroupId.Malformed", "InvalidSecurityGroupId.Malformed"):
		return "correct securityGroupIDs or securityGroupNames: each group must exist in the subnet's VPC"
	case IsSubnetGone(err), is(err, "InvalidSubnetID.Malformed"):
		return "correct subnetID, subnetIDs, subnetName or subnetNames"
	case is(err, "InvalidInstanceID.NotFound"):
		return "EC2 has no such instance in this account and Region: see that AWS_REGION and the credentials are those of the instance"
	case is(err, "OperationNotPermitted"):
		return "another AWS service manages this ENI or instance; release it there"
	case IsMismatch(err):
		return "the ENI was made before the NodeENI changed, and EC2 is asked for it"
	case isRefusedParameter(err):
		return "correct what the NodeENI asks for"
	default:
		return "it is tried again"
	}
}

// How IAM words a refusal, see "Access denied error messages" in its user guide.
var (
	deniedAction = regexp.MustCompile(`not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9]+)`)
	deniedBy     = regexp.MustCompile(`with an explicit deny in (an? (.+? (?:policy|boundary)))`)
	allowedByNo  = regexp.MustCompile(`because no (.+? (?:policy|boundary)) allows`)
)

// explainDenial says which action IAM does not allow, which may be another one than
// the call, and which kind of policy stands in its way. The reason comes first: some
// views cut a long message off.
func explainDenial(action string, err error) (what, do string) {
	text := Message(err)
	denied := "ec2:" + action
	if m := deniedAction.FindStringSubmatch(text); m != nil {
		denied = m[1]
	}
	words := fmt.Sprintf("%s: %s", Code(err), text)
	if m := deniedBy.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("an explicit deny in %s forbids %s: EC2 refused %s (%s)", m[1], denied, action, words),
			fmt.Sprintf("have the deny removed from that %s, or an exception made: allowing the action elsewhere does not help", m[2])
	}
	where := "IAM policy of the role that makes the call"
	if m := allowedByNo.FindStringSubmatch(text); m != nil && m[1] != "identity-based policy" {
		return fmt.Sprintf("no %s allows %s: EC2 refused %s (%s)", m[1], denied, action, words),
			fmt.Sprintf("allow %s in the %s", denied, m[1])
	}
	do = fmt.Sprintf("allow %s in the %s; packaging/iam has the policies", denied, where)
	if action == "CreateNetworkInterface" && denied == "ec2:"+action {
		do = fmt.Sprintf("allow %s, and ec2:CreateTags for it, in the %s; packaging/iam has the policies", denied, where)
	}
	return fmt.Sprintf("IAM does not allow %s: EC2 refused %s (%s)", denied, action, words), do
}
