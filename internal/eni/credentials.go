package eni

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
)

// explainCredentials says which source of credentials has failed, where, and how. The
// call itself was not made.
func explainCredentials(action string, err error) (what, do string) {
	what, do = explainProvider(err)
	return fmt.Sprintf("there are no AWS credentials to call %s with: %s", action, what), do + "; it is tried again"
}

// ExplainCredentials says the same without a call that needed them.
func ExplainCredentials(err error) (what, do string) { return explainProvider(err) }

// explainProvider tells the SDK's providers apart: those that call a service by their
// operation, the others by their words, for they have no types.
func explainProvider(err error) (what, do string) {
	operation := innermost(err)
	var metadata interface{ Explain() (what, do string) }
	switch text := err.Error(); {
	case strings.Contains(text, "unable to read file"), strings.Contains(text, "failed to read authorization token"):
		return brief(err), "see that the token's file is mounted, and that AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names it"
	case operation != nil && operation.ServiceID != "EC2" && operation.ServiceID != "ec2imds":
		return explainService(operation)
	case strings.Contains(text, "failed to load credentials"): // of package endpointcreds
		return explainContainer(err)
	case strings.Contains(text, "EC2 IMDS role") && statusOf(err) == http.StatusNotFound:
		return "IMDS has no IAM role for this instance (HTTP 404)", giveRole
	case errors.As(err, &metadata):
		return metadata.Explain()
	}
	return brief(err), giveRole
}

const giveRole = "give the instance an IAM role (instance profile), or the program credentials of its own"

// innermost is the operation that failed first.
func innermost(err error) *smithy.OperationError {
	var found, next *smithy.OperationError
	for errors.As(err, &next) {
		found, err = next, next.Err
	}
	return found
}

// codeOf is the code and message that a service answered with, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return strings.Trim(fmt.Sprintf("%s: %s", api.ErrorCode(), oneLine(api.ErrorMessage())), ": ")
}

// answerOf is how a service answered: its HTTP status, and its words.
func answerOf(err error) string {
	words := orElse(codeOf(err), brief(err))
	if status := statusOf(err); status != 0 {
		return fmt.Sprintf("HTTP %d %s", status, words)
	}
	return words
}

// explainService: STS (IRSA, assumed roles), SSO and others.
func explainService(o *smithy.OperationError) (what, do string) {
	name := fmt.Sprintf("%s %s", o.ServiceID, o.OperationName)
	if statusOf(o.Err) == 0 {
		why, do := explainSilence(o.Err, o.ServiceID)
		if untrusted(o.Err) == "" {
			do += fmt.Sprintf("; a cluster without a way to the internet needs the VPC endpoint of %s", strings.ToLower(o.ServiceID))
		}
		return fmt.Sprintf("%s got no answer: %s", name, why), do
	}
	what = fmt.Sprintf("%s at %s was refused (%s)", name, orElse(hostOf(o.Err), o.ServiceID), answerOf(o.Err))
	if strings.HasPrefix(o.OperationName, "AssumeRole") {
		return what, "see that the role exists, and that its trust policy lets this ServiceAccount (IRSA) or caller assume it"
	}
	return what, "see whether a proxy stands in between, and whether the configuration of the credentials is right"
}

// explainContainer: EKS Pod Identity's agent on the node, and ECS'.
func explainContainer(err error) (what, do string) {
	const name = "the endpoint of container credentials"
	if statusOf(err) == 0 {
		why, _ := explainSilence(err, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
		return fmt.Sprintf("%s got no answer: %s", name, why), "with EKS Pod Identity, see that the DaemonSet eks-pod-identity-agent runs on this node"
	}
	return fmt.Sprintf("%s refused (%s)", orElse(hostOf(err), name), answerOf(err)),
		"with EKS Pod Identity, see the association of this ServiceAccount and the log of eks-pod-identity-agent on this node; without a way to the internet it needs the VPC endpoint of eks-auth"
}
