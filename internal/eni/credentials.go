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
	return fmt.Sprintf("no AWS credentials for %s: %s", action, what), do + "; " + Retried
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
		return brief(err), "check that the token file is mounted, and that AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE contains its path"
	case operation != nil && operation.ServiceID != "EC2" && operation.ServiceID != "ec2imds":
		return explainService(operation)
	case strings.Contains(text, "failed to load credentials"): // of package endpointcreds
		return explainContainer(err)
	case strings.Contains(text, "EC2 IMDS role") && statusOf(err) == http.StatusNotFound:
		return "this instance has no IAM role (IMDS returned HTTP 404)", giveRole
	case errors.As(err, &metadata):
		return metadata.Explain()
	}
	return brief(err), giveRole
}

const giveRole = "attach an IAM role (instance profile) to the instance, or configure other credentials"

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
			do += fmt.Sprintf("; a cluster without internet access needs the VPC endpoint for %s", strings.ToLower(o.ServiceID))
		}
		return fmt.Sprintf("%s did not respond: %s", name, why), do
	}
	what = fmt.Sprintf("%s at %s failed (%s)", name, orElse(hostOf(o.Err), o.ServiceID), answerOf(o.Err))
	if strings.HasPrefix(o.OperationName, "AssumeRole") {
		return what, "check that the role exists, and that its trust policy allows this ServiceAccount (IRSA) or caller to assume it"
	}
	return what, "check for a proxy on the path, and check the configuration of the credentials"
}

// explainContainer: EKS Pod Identity's agent on the node, and ECS'.
func explainContainer(err error) (what, do string) {
	const name = "the container credentials endpoint"
	if statusOf(err) == 0 {
		why, _ := explainSilence(err, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
		return fmt.Sprintf("%s did not respond: %s", name, why), "with EKS Pod Identity, check that the DaemonSet eks-pod-identity-agent runs on this node"
	}
	return fmt.Sprintf("%s refused the request (%s)", orElse(hostOf(err), name), answerOf(err)),
		"with EKS Pod Identity, check the association of this ServiceAccount and the log of eks-pod-identity-agent on this node; a cluster without internet access needs the VPC endpoint for eks-auth"
}
