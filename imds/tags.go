package imds

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// tagsPath lists the keys of the instance's tags.
const tagsPath = "tags/instance"

// ErrNoTags says that IMDS does not tell the instance's tags.
var ErrNoTags = errors.New("IMDS returned no tags of this instance: it has none, or its metadata option InstanceMetadataTags is not enabled " +
	"(aws ec2 modify-instance-metadata-options --instance-id ID --instance-metadata-tags enabled)")

// Tags are the instance's tags. Their keys have no slash and no space: EC2
// refuses others while IMDS tells the tags.
func (c *Client) Tags(ctx context.Context) (map[string]string, error) {
	list, err := c.get(ctx, tagsPath)
	if isMissing(err) {
		return nil, ErrNoTags
	}
	if err != nil {
		return nil, err
	}
	tags := map[string]string{}
	for key := range strings.Lines(list) {
		key = strings.TrimSpace(key)
		if key == "" {
			continue
		}
		value, err := c.get(ctx, tagsPath+"/"+key)
		switch {
		case isMissing(err): // removed meanwhile
		case err != nil:
			return nil, fmt.Errorf("tag %s of the instance: %w", key, err)
		default:
			tags[key] = value
		}
	}
	return tags, nil
}
