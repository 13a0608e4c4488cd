package eni

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// CreateParams is everything that decides what a new ENI will be.
type CreateParams struct {
	Owner       Owner
	SubnetID    string
	Groups      []string // ids
	Description string
	UserTags    map[string]string
	// Replaces is the id of the ENI that was gone and that this one stands in
	// for; it makes the token a new one.
	Replaces string
}

// Token is the ClientToken: equal parameters give the same ENI again, whoever
// asks and however often. It is 64 ASCII characters, EC2's maximum.
func (p CreateParams) Token() string {
	groups := slices.Sorted(slices.Values(p.Groups))
	// A JSON array separates its fields unmistakably, and nothing in it
	// depends on the order of a map.
	text, err := json.Marshal([]any{
		p.Owner.Cluster, p.Owner.Node, p.Owner.Instance, p.Owner.NodeENI, p.Owner.NodeENIUID, p.Owner.CreatedAt.Unix(),
		p.SubnetID, groups, p.Description, sortedPairs(p.UserTags), p.Replaces,
	})
	if err != nil {
		panic("strings, numbers and their slices always marshal: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func sortedPairs(m map[string]string) [][2]string {
	pairs := make([][2]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, [2]string{k, m[k]})
	}
	return pairs
}

func (p CreateParams) input() *ec2.CreateNetworkInterfaceInput {
	in := &ec2.CreateNetworkInterfaceInput{
		SubnetId:    aws.String(p.SubnetID),
		Groups:      slices.Sorted(slices.Values(p.Groups)),
		ClientToken: aws.String(p.Token()),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeNetworkInterface,
			Tags:         p.Owner.tags(p.UserTags),
		}},
	}
	if p.Description != "" {
		in.Description = aws.String(p.Description)
	}
	return in
}
