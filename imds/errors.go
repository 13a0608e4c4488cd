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
	return fmt.Sprintf("IMDS has nothing at %s (404)", e.path)
}

func isMissing(err error) bool {
	var missing *missingError
	return errors.As(err, &missing)
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
	return fmt.Errorf("read %s from IMDS: %w; %s", path, err, advice(last))
}

// advice follows
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
// and …/configuring-instance-metadata-options.html.
func advice(last outcome) string {
	var dial *net.OpError
	var late net.Error
	switch {
	case last.status == http.StatusForbidden:
		return "the metadata service is switched off: enable the instance's HttpEndpoint metadata option"
	case last.status == http.StatusNotFound || last.status == http.StatusMethodNotAllowed || last.status == http.StatusNotImplemented:
		return "no session token can be had: what answers does not speak IMDSv2; check AWS_EC2_METADATA_SERVICE_ENDPOINT"
	case last.status == http.StatusUnauthorized:
		return "the session token is refused; check what is between this process and the metadata service"
	case last.status == http.StatusTooManyRequests || last.status >= http.StatusInternalServerError:
		return "the metadata service is overloaded or failing; something on this instance may ask too often"
	case errors.As(last.err, &dial) && dial.Op == "dial":
		return "the metadata service cannot be reached: is this an EC2 instance, " +
			"and does no firewall or network policy block 169.254.169.254?"
	case errors.As(last.err, &late) && late.Timeout(): // connected, but no answer
		return "the metadata service does not answer: run on the host's network, or set the instance's " +
			"HttpPutResponseHopLimit metadata option to 2"
	}
	return "what is there is not the metadata service; check AWS_EC2_METADATA_SERVICE_ENDPOINT"
}
