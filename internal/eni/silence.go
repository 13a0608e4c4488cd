package eni

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// explainSilence says why a host gave no answer, and what to look at. The same error
// has the same words each time: ports, request ids and the SDK's wrapping are left
// out. what stands for the host where the error does not name it.
func explainSilence(err error, what string) (why, do string) {
	host := hostOf(err)
	do = fmt.Sprintf("make sure that this node can reach %s through a route, a VPC endpoint, or a proxy", orElse(host, what))
	if certificate := untrusted(err); certificate != "" {
		return fmt.Sprintf("the certificate of %s is not trusted (%s)", orElse(host, what), certificate),
			"if a proxy or a private endpoint uses a private CA, set AWS_CA_BUNDLE or SSL_CERT_FILE to a file with the CA certificates, and mount that file (see the values of the Helm chart)"
	}
	why = brief(err)
	if proxy := proxyOf(err); proxy != "" {
		return fmt.Sprintf("%s (through the proxy %s: %s)", orElse(host, what), proxy, why),
			fmt.Sprintf("allow %[2]s in the proxy %[1]s, or add %[2]s to NO_PROXY", proxy, orElse(host, what))
	}
	if host == "" || strings.Contains(why, host) {
		return why, do
	}
	return fmt.Sprintf("%s (%s)", host, why), do
}

func orElse(text, other string) string {
	if text != "" {
		return text
	}
	return other
}

// requestURL is what was asked for, or nil.
func requestURL(err error) *url.URL {
	var sent *url.Error
	if errors.As(err, &sent) {
		if u, err := url.Parse(sent.URL); err == nil {
			return u
		}
	}
	var answered *smithyhttp.ResponseError
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.Request != nil {
		return answered.Response.Request.URL
	}
	return nil
}

// hostOf is the host that was asked, or "".
func hostOf(err error) string {
	if u := requestURL(err); u != nil {
		return u.Host
	}
	return ""
}

// proxyOf is the proxy that the request went by, as far as the environment tells;
// without the password that its URL may hold.
func proxyOf(err error) string {
	u := requestURL(err)
	if u == nil {
		return ""
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host
}

// untrusted says what is wrong with a certificate, or "".
func untrusted(err error) string {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "x509: certificate signed by unknown authority"
	case errors.As(err, &name):
		return name.Error()
	case errors.As(err, &invalid):
		return invalid.Error()
	case errors.As(err, &verification):
		return verification.Err.Error()
	}
	return ""
}

// statusOf is the HTTP status of an answer, or 0.
func statusOf(err error) int {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		return answered.HTTPStatusCode()
	}
	return 0
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
	why := "no response"
	switch {
	case err.IsNotFound:
		why = "no such host"
	case err.IsTimeout:
		why = "timed out"
	}
	return fmt.Sprintf("lookup of %s: %s", err.Name, why)
}
