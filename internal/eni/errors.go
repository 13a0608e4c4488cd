package eni

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/smithy-go"
)

// Code is EC2's error code, or "" when the error is not EC2's answer: then
// nobody knows whether the call was carried out.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Message is what EC2 says beside the code, or "". It is without the encoded part
// of a refusal by IAM, which only sts:DecodeAuthorizationMessage can read, and which
// is another one each time.
func Message(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		text, _, _ := strings.Cut(api.ErrorMessage(), " Encoded authorization failure message:")
		return text
	}
	return ""
}

func is(err error, codes ...string) bool {
	code := Code(err)
	for _, c := range codes {
		if code == c {
			return true
		}
	}
	return false
}

// says whether EC2 answered InvalidParameterValue, its code for many things,
// with the text that tells them apart.
func says(err error, text string) bool {
	return is(err, "InvalidParameterValue") && strings.Contains(strings.ToLower(Message(err)), text)
}

// IsThrottled: the call was not carried out, only sent too soon.
func IsThrottled(err error) bool {
	return is(err, "RequestLimitExceeded", "EC2ThrottledException", "Throttling", "ThrottlingException", "RequestThrottled", "SlowDown")
}

// IsNotFound: the ENI is not there, or not yet visible.
func IsNotFound(err error) bool { return is(err, "InvalidNetworkInterfaceID.NotFound") }

// IsAttachmentGone: there is no such attachment (any more, or not yet visible).
func IsAttachmentGone(err error) bool { return is(err, "InvalidAttachmentID.NotFound") }

// IsInUse: the ENI is attached to something, in both of EC2's spellings.
func IsInUse(err error) bool {
	return is(err, "InvalidNetworkInterface.InUse") || says(err, "currently in use")
}

// IsIndexTaken: another ENI holds the device index.
func IsIndexTaken(err error) bool {
	return says(err, "already has an interface attached at device index")
}

// IsSubnetFull: no address is left, in both of EC2's spellings.
func IsSubnetFull(err error) bool {
	return is(err, "InsufficientFreeAddressesInSubnet") || says(err, "sufficient free")
}

// isRefusedParameter: what the call asks for is wrong in itself, not only at this
// moment.
func isRefusedParameter(err error) bool {
	return is(err, "InvalidParameter", "InvalidParameterValue", "InvalidParameterCombination", "TagLimitExceeded") &&
		!IsInUse(err) && !IsIndexTaken(err) && !IsSubnetFull(err)
}

// lacksCredentials: the call was not even made. The SDK has no type for it.
func lacksCredentials(err error) bool {
	return err != nil && strings.Contains(err.Error(), "get credentials: ")
}

// IsMismatch: the request was carried out before, in other words.
func IsMismatch(err error) bool { return is(err, "IdempotentParameterMismatch") }

// IsAttachmentLimit: the instance type takes no more ENIs.
func IsAttachmentLimit(err error) bool { return is(err, "AttachmentLimitExceeded") }

// IsGroupGone: a security group that the call names is not there.
func IsGroupGone(err error) bool {
	return is(err, "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound")
}

// IsSubnetGone: the subnet that the call names is not there.
func IsSubnetGone(err error) bool {
	return is(err, "InvalidSubnetID.NotFound", "InvalidSubnet.NotFound")
}

// IsUnauthenticated: EC2 does not accept the credentials, or the clock is wrong.
// Both often mend themselves.
func IsUnauthenticated(err error) bool { return is(err, "AuthFailure") }

// IsUnauthorized: IAM does not allow the call.
func IsUnauthorized(err error) bool {
	return is(err, "UnauthorizedOperation", "AuthFailure", "AccessDenied", "AccessDeniedException")
}

// IsTerminal: asking again does not help before somebody changes the NodeENI,
// a quota, a permission or the instance.
func IsTerminal(err error) bool {
	return IsUnauthorized(err) || IsAttachmentLimit(err) || IsGroupGone(err) || IsSubnetGone(err) || isRefusedParameter(err) || is(err,
		"NetworkInterfaceLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded",
		"InvalidSubnetID.Malformed", "InvalidGroupId.Malformed", "InvalidSecurityGroupId.Malformed",
		"OperationNotPermitted", "InvalidInstanceID.NotFound",
	)
}

// Reason is the error in one word.
func Reason(err error) string {
	switch {
	case lacksCredentials(err):
		return "NoCredentials"
	case Code(err) == "":
		return "NoAnswer"
	}
	return Code(err)
}

// Advice puts EC2's error into words: what is wrong, and what to do about it.
// action is EC2's name of the call.
func Advice(action string, err error) string {
	hint := ""
	switch {
	case lacksCredentials(err):
		return fmt.Sprintf("there are no AWS credentials to call %s with (%s); give the instance an IAM role (instance profile), or the program credentials of its own; it is tried again", action, brief(err))
	case IsThrottled(err):
		// Without EC2's text: it holds a request id, and every attempt would
		// look like news.
		return fmt.Sprintf("EC2 throttles %s (%s) for this account and Region; it is tried again", action, Code(err))
	case is(err, "AuthFailure"):
		hint = "see that the credentials are valid and that the clock is right"
	case IsUnauthorized(err):
		hint = "allow ec2:" + action + " in the IAM policy of the role that makes the call"
	case IsAttachmentLimit(err):
		hint = "choose an instance type that takes more ENIs, or ask for fewer on this node"
	case IsSubnetFull(err):
		hint = "free addresses in the subnet, or list another subnet of this zone"
	case is(err, "NetworkInterfaceLimitExceeded"):
		hint = "raise the Region's quota of network interfaces, or delete unused ones"
	case is(err, "SecurityGroupsPerInterfaceLimitExceeded"):
		hint = "list fewer security groups, or raise the quota of security groups per network interface"
	case IsGroupGone(err), is(err, "InvalidGroupId.Malformed", "InvalidSecurityGroupId.Malformed"):
		hint = "correct securityGroupIDs or securityGroupNames: each group must exist in the subnet's VPC"
	case IsSubnetGone(err), is(err, "InvalidSubnetID.Malformed"):
		hint = "correct subnetID, subnetIDs, subnetName or subnetNames"
	case is(err, "OperationNotPermitted"):
		hint = "another AWS service manages this ENI or instance; release it there"
	case IsMismatch(err):
		hint = "the ENI was made before the NodeENI changed, and EC2 is asked for it"
	case Code(err) == "":
		return fmt.Sprintf("%s got no answer from EC2 (%s); it is tried again; if that goes on, see that EC2's endpoint can be reached", action, brief(err))
	case isRefusedParameter(err):
		hint = "correct what the NodeENI asks for"
	default:
		hint = "it is tried again"
	}
	return fmt.Sprintf("EC2 refused %s (%s: %s); %s", action, Code(err), Message(err), hint)
}

// brief leaves out the SDK's wrapping, which holds request ids, and that of package
// net, which holds ports: the same error has the same words each time.
func brief(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return briefDNS(dns)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// briefDNS: the error's own text may hold the port that the question was sent from.
func briefDNS(err *net.DNSError) string {
	why := "no answer"
	switch {
	case err.IsNotFound:
		why = "no such host"
	case err.IsTimeout:
		why = "timed out"
	}
	return fmt.Sprintf("lookup of %s: %s", err.Name, why)
}
