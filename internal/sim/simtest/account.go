// Package simtest gives a test a simulated AWS account of its own.
package simtest

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

// soonest is how long EC2 takes for an answer at least. When an answer is quicker than the
// end of its own request, the SDK closes the connection in the middle (four times in 300
// calls on a busy machine), and what has been carried out is asked for again.
const soonest = 2 * time.Millisecond

// Account serves EC2 until the test ends. It returns the account and how the SDK
// reaches it.
func Account(t testing.TB, config cloud.Config) (*cloud.Cloud, aws.Config) {
	t.Helper()
	config.Timing.Read, config.Timing.Write = max(config.Timing.Read, soonest), max(config.Timing.Write, soonest)
	c, err := cloud.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(query.New(c))
	t.Cleanup(func() {
		c.Close() // lets go of calls that hang
		server.Close()
	})
	return c, aws.Config{
		Region:       c.Config().Region,
		BaseEndpoint: aws.String(server.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("id", "secret", ""),
	}
}
