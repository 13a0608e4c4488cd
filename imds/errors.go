package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// missingError says that IMDS has nothing at a path.
type missingError struct{ path string }

func (e *missingError) Error() string {
	return fmt.Sprintf("IMDS returned 404 for %s", e.path)
}

// HTTPStatusCode is for those who ask any error of HTTP for its status.
func (e *missingError) HTTPStatusCode() int { return http.StatusNotFound }

func isMissing(err error) bool {
	var missing *missingError
	return errors.As(err, &missing)
}

// failedError says why IMDS did not answer, or not with what was asked for.
type failedError struct {
	path string
	last outcome
	err  error // the SDK's
}

func (e *failedError) Error() string {
	what, do := e.Explain()
	return what + "; " + do
}

// Explain says what is wrong, and what to do.
func (e *failedError) Explain() (what, do string) {
	why := fmt.Sprintf("HTTP %d", e.last.status)
	if e.last.status == 0 {
		why = brief(e.last.err)
	}
	if e.last.token {
		why += " to the request for a session token"
	}
	return fmt.Sprintf("read %s from IMDS at %s: %s", e.path, e.last.host, why), advice(e.last)
}

func (e *failedError) Unwrap() error { return e.err }

// brief is the error without package net's wrapping, which holds ports.
func brief(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// explain says what an error of the SDK means, and what to do. The outcome is
// that of the last request.
func explain(path string, err error, last outcome) error {
	if last.status == http.StatusNotFound && !last.token {
		return &missingError{path}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if last.status == 0 && last.err == nil { // nothing was sent; the SDK says why
		return fmt.Errorf("read %s from IMDS: %w", path, err)
	}
	return &failedError{path, last, err}
}

// advice follows
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
// and …/configuring-instance-metadata-options.html.
func advice(last outcome) string {
	var dial *net.OpError
	var late net.Error
	switch {
	case last.status == http.StatusForbidden:
		return "the metadata service is disabled: set the HttpEndpoint metadata option of the instance to enabled"
	case last.status == http.StatusNotFound || last.status == http.StatusMethodNotAllowed || last.status == http.StatusNotImplemented:
		return "cannot get a session token, because the service that responds does not support IMDSv2; check AWS_EC2_METADATA_SERVICE_ENDPOINT"
	case last.status == http.StatusUnauthorized:
		return "the metadata service refused the session token; check for a proxy between this process and the metadata service"
	case last.status == http.StatusTooManyRequests || last.status >= http.StatusInternalServerError:
		return "the metadata service is overloaded or failing; check whether a program on this instance sends too many requests"
	case errors.As(last.err, &dial) && dial.Op == "dial":
		return "cannot reach the metadata service: check that this is an EC2 instance " +
			"and that no firewall or network policy blocks " + last.host
	case errors.As(last.err, &late) && late.Timeout(): // connected, but no answer
		return "the metadata service does not respond: run in the host's network, or set the " +
			"HttpPutResponseHopLimit metadata option of the instance to 2"
	}
	return "the response is not from the metadata service; check AWS_EC2_METADATA_SERVICE_ENDPOINT"
}
