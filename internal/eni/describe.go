package eni

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
)

// OfInstance lists the cluster's ENIs that were made for the instance, attached
// or not.
func (c *Client) OfInstance(ctx context.Context, cluster, instanceARN string) ([]ENI, error) {
	ours := func(e ENI) bool { return e.Owner.Cluster == cluster && e.Owner.Instance == instanceARN }
	return c.describe(ctx, once, ours, filter("tag:"+TagCluster, cluster), filter("tag:"+TagInstance, instanceARN))
}

// AttachedTo lists every ENI that is attached to the instance, whoever made it.
func (c *Client) AttachedTo(ctx context.Context, instanceID string) ([]ENI, error) {
	here := func(e ENI) bool { return e.Attachment != nil && e.Attachment.InstanceID == instanceID }
	return c.describe(ctx, once, here, filter("attachment.instance-id", instanceID))
}

// OfCluster lists every ENI of the cluster. A page that EC2 throttles is asked for
// again, until ctx ends: of a list of many pages one is throttled sooner or later.
func (c *Client) OfCluster(ctx context.Context, cluster string) ([]ENI, error) {
	ours := func(e ENI) bool { return e.Owner.Cluster == cluster }
	return c.describe(ctx, patiently, ours, filter("tag:"+TagCluster, cluster))
}

// Selector is the filter that narrows a list of the cluster's ENIs.
type Selector string

// Selectors, by what their values are.
const (
	ByID      Selector = "network-interface-id"
	ByNode    Selector = "tag:" + TagNode
	ByNodeENI Selector = "tag:" + TagNodeENIUID
	// ByInstance is where an ENI is attached.
	ByInstance Selector = "attachment.instance-id"
)

// valueOf is what the selector looks at.
func (by Selector) valueOf(e ENI) string {
	switch by {
	case ByNode:
		return e.Owner.Node
	case ByNodeENI:
		return string(e.Owner.NodeENIUID)
	case ByInstance:
		if e.Attachment == nil {
			return ""
		}
		return e.Attachment.InstanceID
	}
	return e.ID
}

// SelectorLimit is how many values one list of OfClusterBy takes.
const SelectorLimit = filterLimit

// OfClusterBy lists the cluster's ENIs that have one of the values, of which there
// are at most SelectorLimit. Like OfCluster it asks again for what EC2 throttles.
func (c *Client) OfClusterBy(ctx context.Context, cluster string, by Selector, values []string) ([]ENI, error) {
	meant := func(e ENI) bool { return e.Owner.Cluster == cluster && slices.Contains(values, by.valueOf(e)) }
	return c.describe(ctx, patiently, meant, filter("tag:"+TagCluster, cluster), filter(string(by), values...))
}

// Tagged is an ENI with all of its tags.
type Tagged struct {
	ENI
	Tags map[string]string
	// AttachedAt is when the ENI was attached; zero when it is not attached.
	AttachedAt time.Time
}

// TaggedBy lists ENIs that have one of the values, of which there are at most
// SelectorLimit, with all of their tags, no matter who created them.
func (c *Client) TaggedBy(ctx context.Context, by Selector, values []string) (all []Tagged, err error) {
	everyone := func(ENI) bool { return true }
	err = c.each(ctx, patiently, everyone, func(n types.NetworkInterface, e ENI) {
		t := Tagged{ENI: e, Tags: make(map[string]string, len(n.TagSet))}
		for _, tag := range n.TagSet {
			t.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
		if n.Attachment != nil {
			t.AttachedAt = aws.ToTime(n.Attachment.AttachTime)
		}
		if slices.Contains(values, t.valueOf(by)) {
			all = append(all, t)
		}
	}, filter(string(by), values...))
	return all, err
}

// valueOf is what the selector looks at, for selectors by any tag.
func (t Tagged) valueOf(by Selector) string {
	if key, ok := strings.CutPrefix(string(by), "tag:"); ok {
		return t.Tags[key]
	}
	return by.valueOf(t.ENI)
}

// Any lists ENIs that have one of the values, of which there are at most
// SelectorLimit, whoever made them.
func (c *Client) Any(ctx context.Context, by Selector, values []string) ([]ENI, error) {
	meant := func(e ENI) bool { return slices.Contains(values, by.valueOf(e)) }
	return c.describe(ctx, patiently, meant, filter(string(by), values...))
}

// describe lists the ENIs that the filters select. What stands in for EC2 may
// ignore a filter, and an ENI that is taken for ours has its link taken down: so
// each ENI has to say itself that it is meant.
func (c *Client) describe(ctx context.Context, again patience, meant func(ENI) bool, filters ...types.Filter) (all []ENI, err error) {
	err = c.each(ctx, again, meant, func(_ types.NetworkInterface, e ENI) { all = append(all, e) }, filters...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// each calls take with each ENI that is meant.
func (c *Client) each(ctx context.Context, again patience, meant func(ENI) bool, take func(types.NetworkInterface, ENI), filters ...types.Filter) error {
	pages := ec2.NewDescribeNetworkInterfacesPaginator(c.ec2, &ec2.DescribeNetworkInterfacesInput{
		Filters: filters, MaxResults: aws.Int32(PageSize),
	})
	listed := map[string]bool{}
	return eachPage(pages.HasMorePages, func() (*string, error) {
		page, err := again.nextPage(ctx, pages)
		if err != nil {
			return nil, err
		}
		for _, n := range page.NetworkInterfaces {
			e := fromEC2(n)
			if !meant(e) || listed[e.ID] { // pages may overlap when ENIs come and go
				continue
			}
			if e.ID == "" || e.SubnetID == "" {
				return nil, fmt.Errorf("EC2 answered DescribeNetworkInterfaces with an ENI that has the ID %q and the subnet %q; %w", e.ID, e.SubnetID, errIncomplete)
			}
			if lost := unreadable(n, e); lost > 0 { // or they would be assigned again
				return nil, fmt.Errorf("EC2 answered DescribeNetworkInterfaces with %d invalid addresses or prefixes for %s; %w", lost, e.ID, errIncomplete)
			}
			listed[e.ID] = true
			take(n, e)
		}
		return page.NextToken, nil
	})
}

// patience is how a page is asked for again: not at all, or with this backoff. What is
// throttled passes; another failure may be an outage, which is for the caller to
// report, so it has a few tries only.
type patience struct {
	backoff    backoff.Exponential
	otherTries int
}

var (
	once      = patience{}
	patiently = patience{backoff.Exponential{First: 250 * time.Millisecond, Max: 4 * time.Second}, 3}
)

// nextPage bounds the time of each page: how many there are is not known before.
// The paginator stays where it is when a page fails.
func (p patience) nextPage(ctx context.Context, pages *ec2.DescribeNetworkInterfacesPaginator) (*ec2.DescribeNetworkInterfacesOutput, error) {
	for n, other := 0, 0; ; n++ {
		attempt, cancel := context.WithTimeout(ctx, CallTimeout)
		page, err := pages.NextPage(attempt)
		cancel()
		if err == nil || p == once || IsTerminal(err) {
			return page, err
		}
		if !IsThrottled(err) {
			if other++; other == p.otherTries {
				return nil, err
			}
		}
		if p.backoff.Wait(ctx, n) != nil {
			return nil, err // EC2's answer says more than that the time is over
		}
	}
}
