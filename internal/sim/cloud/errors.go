package cloud

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an error answer of the EC2 API.
type Error struct {
	Code       string
	Message    string
	HTTPStatus int
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrNoAnswer says that the caller must not get an answer: its connection is
// to be closed.
var ErrNoAnswer = errors.New("the call gets no answer")

// Errorf returns an *Error with the HTTP status that EC2 sends with the code.
func Errorf(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), HTTPStatus: statusOf(code)}
}

// statusOf follows "Error codes for the Amazon EC2 API": client errors are
// 400 with a few exceptions, server errors 500 or 503.
func statusOf(code string) int {
	switch code {
	case "UnauthorizedOperation":
		return http.StatusForbidden
	case "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken":
		return http.StatusUnauthorized
	case "DryRunOperation":
		return http.StatusPreconditionFailed
	case "InternalError", "InternalFailure":
		return http.StatusInternalServerError
	case "RequestLimitExceeded", "EC2ThrottledException", "Unavailable", "ServiceUnavailable", "InsufficientInstanceCapacity":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// codeOf returns the EC2 error code of an error, "" for nil.
func codeOf(err error) (code, message string) {
	var e *Error
	switch {
	case err == nil || errors.Is(err, ErrNoAnswer):
		return "", ""
	case errors.As(err, &e):
		return e.Code, e.Message
	}
	return "InternalError", err.Error()
}
