package eni

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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
	// maxPages bounds a list of pages, of 1,000 each.
	maxPages = 200
)

// addAnswerCheck has every answer checked before the SDK reads it. The SDK takes
// an empty body, a proxy's page and the answer to another call for an answer that
// holds nothing: no ENI exists, or the detach is done. That must not be believed.
func addAnswerCheck(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("answer-check", checkAnswer), middleware.After)
}

func checkAnswer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.StatusCode < 200 || response.StatusCode >= 300 {
		return out, metadata, err // an error says itself what it is
	}
	body := bufio.NewReaderSize(io.LimitReader(response.Body, maxAnswer), answerHead)
	head, _ := body.Peek(answerHead) // what cannot be read fails again below
	if want := fmt.Sprintf("%sResponse", middleware.GetOperationName(ctx)); rootOf(head) != want {
		response.Body.Close()
		return out, metadata, fmt.Errorf("the answer is not EC2's: HTTP %d without a %s, but %q; is there a proxy in between, or is the endpoint's URL wrong?",
			response.StatusCode, want, beginning(head))
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{body, response.Body}
	return out, metadata, nil
}

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

// beginning is enough of an answer to know it by.
func beginning(answer []byte) string {
	return strings.ToValidUTF8(string(answer[:min(len(answer), 80)]), "?")
}

// pages notices a list whose pages come to no end.
type pages map[string]bool

var errIncomplete = errors.New("nothing is concluded from an incomplete answer")

var errEndless = errors.New("EC2's list of pages does not end, or it gives a page again; nothing is concluded from it")

// next takes the token of the next page, if there is one.
func (p pages) next(token *string) error {
	t := aws.ToString(token)
	if t == "" {
		return nil
	}
	if p[t] || len(p) >= maxPages {
		return errEndless
	}
	p[t] = true
	return nil
}
