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
		return fmt.Sprintf("the response to %s did not come from EC2: %v", action, foreign),
			"check for a proxy or firewall on the path, and check the endpoint URL; the call is retried automatically"
	case IsThrottled(err):
		// Without EC2's text: it holds a request id, and every attempt would
		// look like news.
		return fmt.Sprintf("EC2 is throttling %s (%s) for this account and Region", action, Code(err)), Retried
	case is(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
		return explainDenial(action, err)
	case isSubnetFragmented(err):
		return fmt.Sprintf("the subnet has no free block for another prefix: EC2 refused %s (%s: %s)", action, Code(err), Message(err)),
			"reserve part of the subnet for prefixes (a CIDR reservation of type prefix), or list another subnet in this zone; " + Retried
	case IsSubnetFull(err):
		return fmt.Sprintf("the subnet has no free addresses: EC2 refused %s (%s: %s)", action, Code(err), Message(err)),
			"free addresses in the subnet, or list another subnet in this zone; " + Retried
	case errors.Is(err, errIncomplete), errors.Is(err, errEndless):
		return fmt.Sprintf("EC2 answered %s, but %s", action, brief(err)), Retried
	case Code(err) == "":
		what, do := explainSilence(err, "the EC2 endpoint")
		return fmt.Sprintf("EC2 did not respond to %s: %s", action, what), Retried + "; if the failure persists, " + do
	case is(err, "UnknownError"): // the SDK's word for an error without a code
		return fmt.Sprintf("EC2 answered %s with HTTP %d and no error code", action, statusOf(err)),
			Retried + "; if the failure persists, check what is on the network path from this node to EC2"
	}
	return fmt.Sprintf("EC2 refused %s (%s: %s)", action, Code(err), Message(err)), remedy(err)
}

// Retried is the remedy where waiting is enough: agents and coordinators call again.
const Retried = "the call is retried automatically"

// remedy is what to do about a refusal.
func remedy(err error) string {
	switch {
	case IsUnauthenticated(err):
		return "check that the credentials are valid and that the clock is correct"
	case IsAttachmentLimit(err):
		return "use an instance type that supports more ENIs, or request fewer ENIs for this node"
	case IsAddressLimit(err):
		return "use an instance type that supports more addresses per ENI, or request fewer addresses or prefixes: each prefix counts as one address, and so does the primary IPv4 address"
	case isUnsupported(err):
		return "use an instance type and a subnet that support the settings of the NodeENI, or remove the unsupported settings"
	case is(err, "NetworkInterfaceLimitExceeded"):
		return "request a higher quota for network interfaces in this Region, or delete unused ones"
	case is(err, "SecurityGroupsPerInterfaceLimitExceeded"):
		return "list fewer security groups, or request a higher quota for security groups per network interface"
	case IsGroupGone(err), is(err, "InvalidGroupId.Malformed", "InvalidSecurityGroupId.Malformed"):
		return "correct securityGroupIDs or securityGroupNames: each group must exist in the subnet's VPC"
	case IsSubnetGone(err), is(err, "InvalidSubnetID.Malformed"):
		return "correct subnetID, subnetIDs, subnetName, or subnetNames"
	case is(err, "InvalidInstanceID.NotFound"):
		return "the instance does not exist in this account and Region: check that AWS_REGION and the credentials match the instance"
	case is(err, "OperationNotPermitted"):
		return "another AWS service manages this ENI or instance; use that service to release it"
	case IsMismatch(err):
		return "the ENI was created before the NodeENI changed; the agent looks it up in EC2"
	case isRefusedParameter(err):
		return "correct the NodeENI"
	default:
		return Retried
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
			fmt.Sprintf("remove the deny from that %s, or add an exception to it: allowing the action in another policy does not help", m[2])
	}
	where := "IAM policy of the calling role"
	if m := allowedByNo.FindStringSubmatch(text); m != nil && m[1] != "identity-based policy" {
		return fmt.Sprintf("no %s allows %s: EC2 refused %s (%s)", m[1], denied, action, words),
			fmt.Sprintf("allow %s in the %s", denied, m[1])
	}
	do = fmt.Sprintf("allow %s in the %s; packaging/iam contains the required policies", denied, where)
	if action == "CreateNetworkInterface" && denied == "ec2:"+action {
		do = fmt.Sprintf("allow %s, and ec2:CreateTags for it, in the %s; packaging/iam contains the required policies", denied, where)
	}
	return fmt.Sprintf("IAM does not allow %s: EC2 refused %s (%s)", denied, action, words), do
}
