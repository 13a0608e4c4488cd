// Package query speaks the EC2 Query protocol, version 2016-11-15, in front of
// a simulated account: forms in, XML out. The AWS SDKs and the AWS CLI work with
// it when their endpoint for EC2 is set to it. Signatures are not checked.
package query

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	version   = "2016-11-15"
	namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
	maxBody   = 1 << 20 // far above what EC2 accepts
)

// operation reads an action's parameters and returns what carries it out, so
// that bad parameters show before anything is done.
type operation func(*params) func(*cloud.Cloud) (response, error)

var operations = map[string]operation{
	"AssignIpv6Addresses":               assignIPv6Addresses,
	"AssignPrivateIpAddresses":          assignPrivateIPAddresses,
	"AttachNetworkInterface":            attachNetworkInterface,
	"CreateNetworkInterface":            createNetworkInterface,
	"CreateTags":                        createTags,
	"DeleteNetworkInterface":            deleteNetworkInterface,
	"DeleteTags":                        deleteTags,
	"DescribeAvailabilityZones":         describeAvailabilityZones,
	"DescribeInstances":                 describeInstances,
	"DescribeInstanceTypes":             describeInstanceTypes,
	"DescribeNetworkInterfaceAttribute": describeNetworkInterfaceAttribute,
	"DescribeNetworkInterfaces":         describeNetworkInterfaces,
	"DescribeSecurityGroups":            describeSecurityGroups,
	"DescribeSubnets":                   describeSubnets,
	"DescribeVpcs":                      describeVpcs,
	"DetachNetworkInterface":            detachNetworkInterface,
	"ModifyNetworkInterfaceAttribute":   modifyNetworkInterfaceAttribute,
	"RunInstances":                      runInstances,
	"TerminateInstances":                terminateInstances,
	"UnassignIpv6Addresses":             unassignIPv6Addresses,
	"UnassignPrivateIpAddresses":        unassignPrivateIPAddresses,
}

// IsAction says whether an action is simulated.
func IsAction(name string) bool {
	_, ok := operations[name]
	return ok
}

// Handler answers EC2 API calls. When a call must get no answer (see
// cloud.ErrNoAnswer), it closes the connection.
type Handler struct {
	cloud *cloud.Cloud
}

// New puts the protocol in front of an account.
func New(c *cloud.Cloud) *Handler { return &Handler{cloud: c} }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	id := newRequestID()
	if err := r.ParseForm(); err != nil {
		writeError(w, id, cloud.Errorf("MalformedQueryString", "The query string contains a syntax error: %v", err))
		return
	}
	p, parseErr := parse(r.Form)
	request := cloud.Request{
		Action:    r.Form.Get("Action"),
		SourceID:  accessKeyID(r),
		UserAgent: userAgent(r.Header),
		RequestID: id,
		Params:    p.values,
	}
	var answer response
	err := h.cloud.Do(r.Context(), request, func() error {
		if parseErr != nil {
			return parseErr
		}
		var err error
		answer, err = h.carryOut(request, r.Form, p)
		return err
	})
	switch {
	case errors.Is(err, cloud.ErrNoAnswer):
		panic(http.ErrAbortHandler) // net/http's way to close the connection without an answer
	case err != nil:
		writeError(w, id, err)
	default:
		writeResponse(w, id, request.Action, answer)
	}
}

func (h *Handler) carryOut(request cloud.Request, form url.Values, p *params) (response, error) {
	action := request.Action
	operation, ok := operations[action]
	switch v := form.Get("Version"); {
	case action == "":
		return nil, cloud.Errorf("MissingAction", "The request is missing an action or a required parameter.")
	case v == "":
		return nil, cloud.Errorf("MissingParameter", "The request must contain the parameter version")
	case v != version:
		return nil, cloud.Errorf("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist, want %s", v, version)
	case !ok:
		return nil, cloud.Errorf("InvalidAction", "The action %s is not valid for this web service, which is a simulation: it has the actions that concern network interfaces.", action)
	}
	dry := p.flag("DryRun")
	execute := operation(p)
	if err := p.err(); err != nil {
		return nil, err
	}
	if err := h.cloud.Authorize(request); err != nil {
		return nil, err
	}
	if dry {
		return nil, h.cloud.DryRun(p.values)
	}
	return execute(h.cloud)
}

// accessKeyID finds the caller in the signature: in the Authorization header
// or, presigned, in the query.
func accessKeyID(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if credential == "" {
		credential = r.Form.Get("X-Amz-Credential")
	}
	key, _, _ := strings.Cut(credential, "/")
	return key
}

// userAgent joins the two headers in which SDKs name themselves.
func userAgent(header http.Header) string {
	agent, amz := header.Get("User-Agent"), header.Get("X-Amz-User-Agent")
	if amz == "" || amz == agent {
		return agent
	}
	return strings.TrimSpace(agent + " " + amz)
}

func newRequestID() string {
	a, b := rand.Uint64(), rand.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}

// response is the body of a successful answer.
type response interface{ stamp(requestID string) }

// envelope is what every successful answer has.
type envelope struct {
	Namespace string `xml:"xmlns,attr"`
	RequestID string `xml:"requestId"`
}

func (e *envelope) stamp(requestID string) { e.Namespace, e.RequestID = namespace, requestID }

type errorResponse struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

func writeResponse(w http.ResponseWriter, id, action string, answer response) {
	answer.stamp(id)
	start := xml.StartElement{Name: xml.Name{Local: action + "Response"}}
	write(w, id, http.StatusOK, func(e *xml.Encoder) error { return e.EncodeElement(answer, start) })
}

func writeError(w http.ResponseWriter, id string, err error) {
	var e *cloud.Error
	if !errors.As(err, &e) {
		e = &cloud.Error{Code: "InternalError", Message: err.Error(), HTTPStatus: http.StatusInternalServerError}
	}
	body := errorResponse{Code: e.Code, Message: e.Message, RequestID: id}
	write(w, id, e.HTTPStatus, func(enc *xml.Encoder) error { return enc.Encode(body) })
}

func write(w http.ResponseWriter, id string, status int, encode func(*xml.Encoder) error) {
	body := bytes.NewBufferString(xml.Header)
	if err := encode(xml.NewEncoder(body)); err != nil {
		slog.Error("simulated EC2: encoding an answer", "requestID", id, "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("Server", "AmazonEC2")
	w.Header().Set("X-Amzn-Requestid", id)
	w.WriteHeader(status)
	if _, err := w.Write(body.Bytes()); err != nil {
		slog.Debug("simulated EC2: the caller has gone", "requestID", id, "err", err)
	}
}
