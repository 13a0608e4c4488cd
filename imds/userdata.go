package imds

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// UserData reads the instance's user data, which is nil when it has none. It may hold
// secrets.
func (c *Client) UserData(ctx context.Context) ([]byte, error) {
	ctx, last := observe(ctx)
	out, err := c.sdk.GetUserData(ctx, &imds.GetUserDataInput{})
	if err != nil {
		if err = explain("user-data", err, *last); isMissing(err) {
			return nil, nil
		}
		return nil, err
	}
	return io.ReadAll(out.Content) // of memory: the SDK has read it
}
