// Package awsconfig loads the AWS SDK's configuration for the programs that call EC2.
package awsconfig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// Load reads the SDK's usual sources: the environment, the shared files, and the role of
// the service account or of the instance. It asks IMDS for the Region if none of them has
// it.
func Load(ctx context.Context, metadata *imds.Client) (aws.Config, error) {
	cfg, err := metadata.LoadConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	cfg.APIOptions = append(cfg.APIOptions, userAgent()...)
	if cfg.Region == "" {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if cfg.Region, err = metadata.Region(ctx); err != nil {
			return aws.Config{}, fmt.Errorf("no AWS Region: set AWS_REGION, or make IMDS available: %w", err)
		}
	}
	return cfg, nil
}

// userAgent adds the project and the program to the user agent of each request, which
// CloudTrail shows.
func userAgent() []func(*middleware.Stack) error {
	return []func(*middleware.Stack) error{
		awsmiddleware.AddUserAgentKeyValue("aws-multi-eni", program.Version),
		awsmiddleware.AddUserAgentKey(filepath.Base(os.Args[0])),
	}
}
