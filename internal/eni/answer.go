package eni

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// answerHead is how much of an answer is looked at for its root element.
	answerHead = 4 << 10
	// maxAnswer bounds an answer. A page of 1,000 ENIs has some 3 MB.
	maxAnswer = 64 << 20
	// errorRoot is the root element of an error of EC2's.
	errorRoot = "Response"
	// maxPages bounds a list of pages, of 1,000 each.
	maxPages = 200
)

// addAnswerCheck has every answer checked before the SDK reads it. The SDK takes
// an empty body, a proxy's page and the answer to another call for an answer that
// holds nothing: no ENI exists, or the detach is done. That must not be believed. And
// it takes a proxy's error for a refusal by EC2.
func addAnswerCheck(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("answer-check", checkAnswer), middleware.After)
}

func checkAnswer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok {
		return out, metadata, err
	}
	body := bufio.NewReaderSize(io.LimitReader(response.Body, maxAnswer), answerHead)
	head, _ := body.Peek(answerHead) // what cannot be read fails again below
	want := middleware.GetOperationName(ctx) + "Response"
	if response.StatusCode < 200 || response.StatusCode >= 300 {
		want = errorRoot
	}
	if rootOf(head) != want {
		response.Body.Close()
		return out, metadata, &foreignAnswer{
			status: response.StatusCode, kind: response.Header.Get("content-type"), server: response.Header.Get("server"), words: firstWords(head),
		}
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{body, response.Body}
	return out, metadata, nil
}

// foreignAnswer is one that EC2 has not given: its answers to a call have the call's
// name, and its errors a form of their own.
type foreignAnswer struct {
	status              int
	kind, server, words string
}

func (e *foreignAnswer) Error() string {
	text := fmt.Sprintf("HTTP %d", e.status)
	if e.kind != "" {
		text += ", " + e.kind
	}
	if e.server != "" {
		text += fmt.Sprintf(", from %q", e.server)
	}
	if e.words == "" {
		return text + ", with an empty body"
	}
	return text + fmt.Sprintf(", starting with %q", e.words)
}

// HTTPStatusCode is for those who ask any error of HTTP for its status.
func (e *foreignAnswer) HTTPStatusCode() int { return e.status }

// rootOf is the name of the document's first element, or "".
func rootOf(document []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if element, ok := token.(xml.StartElement); ok {
			return element.Name.Local
		}
	}
}

var markup = regexp.MustCompile(`(?s)<(style|script)\b.*?</(style|script)>|<[^>]*>`)

// firstWords is enough of an answer to know it by, on one line and without markup.
func firstWords(answer []byte) string {
	const enough = 80
	words := []rune(oneLine(markup.ReplaceAllString(strings.ToValidUTF8(string(answer), "?"), " ")))
	if len(words) <= enough {
		return string(words)
	}
	return string(words[:enough]) + "…"
}

// oneLine has a space for every run of white space.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

var errIncomplete = errors.New("the response is incomplete and is ignored")

var errEndless = errors.New("its list has too many pages, or the same page twice, and is ignored")

// eachPage calls read, which tells the token of the next page, as long as there are
// more. It notices a list that comes to no end.
func eachPage(more func() bool, read func() (next *string, err error)) error {
	seen := map[string]bool{}
	for more() {
		next, err := read()
		if err != nil {
			return err
		}
		if token := aws.ToString(next); token != "" {
			if seen[token] || len(seen) >= maxPages {
				return errEndless
			}
			seen[token] = true
		}
	}
	return nil
}
