package eni

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	apitypes "k8s.io/apimachinery/pkg/types"
)

// The tags that every ENI is born with. They are its only proof of ownership.
const (
	TagName       = "Name"
	TagCluster    = "networking.k8s.aws/cluster"
	TagNode       = "networking.k8s.aws/node"
	TagInstance   = "networking.k8s.aws/instance"
	TagNodeENI    = "networking.k8s.aws/nodeeni"
	TagNodeENIUID = "networking.k8s.aws/nodeeni-uid"
	TagCreatedAt  = "networking.k8s.aws/created-at"
	// TagPlace is on ENIs on demand only.
	TagPlace = "networking.k8s.aws/place"
	// TagNoManage keeps the Amazon VPC CNI from adopting the ENI; without it
	// the CNI takes any new ENI within 60 seconds and may delete it.
	TagNoManage = "node.k8s.amazonaws.com/no_manage"
)

// maxTagValue is EC2's; the names of a NodeENI and a Node together may be longer.
const maxTagValue = 256

// CheckCluster says what keeps a name from being the value of the cluster tag; an
// empty one is none yet.
func CheckCluster(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case n > maxTagValue:
		return fmt.Errorf("it has %d characters, but EC2 allows at most %d in a tag value; choose a shorter one", n, maxTagValue)
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q contains characters that EC2 does not allow in tags; use letters, digits, spaces, and + - = . _ : / @", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%q starts or ends with a space, which EC2 may remove; leave it out", name)
	}
	return nil
}

// Owner is what the tags of an ENI say: for which cluster, node, instance and
// NodeENI it was made, and when.
type Owner struct {
	Cluster    string
	Node       string
	Instance   string // the instance's ARN: IAM's self-confinement compares it
	NodeENI    string
	NodeENIUID apitypes.UID
	// CreatedAt is the time of the decision, to the second. EC2 tells no
	// creation time of an ENI; this is its only age.
	CreatedAt time.Time
	// Place is 1 plus the number of the place of an ENI on demand; 0 for other ENIs.
	Place int32
}

// InstanceID is the id at the end of the instance's ARN.
func (o Owner) InstanceID() string {
	return o.Instance[strings.LastIndexByte(o.Instance, '/')+1:]
}

// tags returns the owner's tags and the user's, sorted by key, so that equal
// owners make equal requests. The user may choose the Name, nothing else of ours.
func (o Owner) tags(user map[string]string) []types.Tag {
	name := o.NodeENI + "/" + o.Node
	all := map[string]string{TagName: name[:min(len(name), maxTagValue)]}
	maps.Copy(all, user)
	maps.Copy(all, map[string]string{
		TagCluster:    o.Cluster,
		TagNode:       o.Node,
		TagInstance:   o.Instance,
		TagNodeENI:    o.NodeENI,
		TagNodeENIUID: string(o.NodeENIUID),
		TagCreatedAt:  o.CreatedAt.UTC().Format(time.RFC3339),
		TagNoManage:   "true",
	})
	if o.Place > 0 {
		all[TagPlace] = strconv.Itoa(int(o.Place - 1))
	}
	tags := make([]types.Tag, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(all[key])})
	}
	return tags
}

// ownerOf reads the owner back. What a tag does not tell stays empty; an
// unreadable time stays zero, which is older than any age asked for.
func ownerOf(tags []types.Tag) Owner {
	var o Owner
	for _, tag := range tags {
		value := aws.ToString(tag.Value)
		switch aws.ToString(tag.Key) {
		case TagCluster:
			o.Cluster = value
		case TagNode:
			o.Node = value
		case TagInstance:
			o.Instance = value
		case TagNodeENI:
			o.NodeENI = value
		case TagNodeENIUID:
			o.NodeENIUID = apitypes.UID(value)
		case TagCreatedAt:
			o.CreatedAt, _ = time.Parse(time.RFC3339, value)
		case TagPlace:
			if n, err := strconv.ParseUint(value, 10, 7); err == nil {
				o.Place = int32(n) + 1
			}
		}
	}
	return o
}

// nameTag is the value of the Name tag, or "".
func nameTag(tags []types.Tag) string {
	for _, tag := range tags {
		if aws.ToString(tag.Key) == TagName {
			return aws.ToString(tag.Value)
		}
	}
	return ""
}
