package eni

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
)

// Code is EC2's error code, or "" when the error is not EC2's answer: then
// it is not known whether the call was carried out. The error of the service that gives
// the credentials, such as STS, is none of EC2's: the call was not made.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && !lacksCredentials(err) {
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

// IsThrottled: the call was not carried out, only sent too soon. What stands in for EC2
// may have a code of its own for that.
func IsThrottled(err error) bool {
	return Code(err) != "" && statusOf(err) == http.StatusTooManyRequests || is(err, "RequestLimitExceeded", "EC2ThrottledException", "Throttling", "ThrottlingException", "RequestThrottled", "SlowDown")
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

// IsIndexRefused: the instance type takes no ENI at this device index.
func IsIndexRefused(err error) bool { return says(err, "deviceindex") }

// IsSubnetFull: no address is left, in both of EC2's spellings, or no prefix.
func IsSubnetFull(err error) bool {
	return is(err, "InsufficientFreeAddressesInSubnet") || says(err, "sufficient free") || isSubnetFragmented(err)
}

// isSubnetFragmented: addresses may be left, but no 16 of them in a row.
func isSubnetFragmented(err error) bool { return is(err, "InsufficientCidrBlocks") }

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

// IsENIQuota: the account may have no more ENIs in the Region.
func IsENIQuota(err error) bool { return is(err, "NetworkInterfaceLimitExceeded") }

// IsAttachmentLimit: the instance type takes no more ENIs.
func IsAttachmentLimit(err error) bool { return is(err, "AttachmentLimitExceeded") }

// IsAddressLimit: on this instance type, an ENI takes no more addresses or prefixes.
func IsAddressLimit(err error) bool { return is(err, "PrivateIpAddressLimitExceeded") }

// isUnsupported: this instance type, or this subnet, cannot have what is asked for.
func isUnsupported(err error) bool { return is(err, "UnsupportedOperation", "Unsupported") }

// IsGroupGone: a security group that the call names is not there.
func IsGroupGone(err error) bool {
	return is(err, "InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound")
}

// IsSubnetGone: the subnet that the call names is not there.
func IsSubnetGone(err error) bool {
	return is(err, "InvalidSubnetID.NotFound", "InvalidSubnet.NotFound")
}

// IsUnauthenticated: EC2 does not accept the credentials, or the clock is wrong.
// Both often right themselves.
func IsUnauthenticated(err error) bool {
	return is(err, "AuthFailure", "RequestExpired", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId",
		"UnrecognizedClientException", "SignatureDoesNotMatch", "MissingAuthenticationToken")
}

// IsUnauthorized: IAM does not allow the call.
func IsUnauthorized(err error) bool {
	return is(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
}

// IsRefusal: EC2 has refused the call (HTTP 4xx) with a code that nothing here knows.
// The reason may last for ever, while a failure of EC2's own (HTTP 5xx) passes.
func IsRefusal(err error) bool {
	status := statusOf(err)
	if Code(err) == "" || errors.As(err, new(*foreignAnswer)) || status/100 != 4 || status == http.StatusRequestTimeout {
		return false
	}
	return !IsTerminal(err) && !IsThrottled(err) && !IsSubnetFull(err) && !isMomentary(err)
}

// isMomentary: by the next describe it looks different.
func isMomentary(err error) bool {
	return IsNotFound(err) || IsAttachmentGone(err) || IsInUse(err) || IsIndexTaken(err) || IsMismatch(err)
}

// IsTerminal: asking again does not help before a user changes the NodeENI, a quota,
// a permission or the instance.
func IsTerminal(err error) bool {
	return IsUnauthenticated(err) || IsUnauthorized(err) || IsAttachmentLimit(err) || IsAddressLimit(err) || isUnsupported(err) ||
		IsGroupGone(err) || IsSubnetGone(err) || isRefusedParameter(err) || is(err,
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
	case errors.As(err, new(*foreignAnswer)):
		return "ForeignAnswer"
	case Code(err) == "":
		return "NoAnswer"
	}
	return Code(err)
}
