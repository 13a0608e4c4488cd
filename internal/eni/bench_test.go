package eni

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func BenchmarkToken(b *testing.B) {
	p := params()
	b.ReportAllocs()
	for b.Loop() {
		if len(p.Token()) != 64 {
			b.Fatal("the token has another length")
		}
	}
}

// The request with its tags.
func BenchmarkCreateInput(b *testing.B) {
	p := params()
	b.ReportAllocs()
	for b.Loop() {
		if in := p.input(); len(in.TagSpecifications) != 1 {
			b.Fatal(in)
		}
	}
}

func BenchmarkOwnerOfTags(b *testing.B) {
	tags := owner.tags(map[string]string{"team": "net", "env": "prod"})
	b.ReportAllocs()
	for b.Loop() {
		if ownerOf(tags) != owner {
			b.Fatal("another owner")
		}
	}
}

func BenchmarkFromEC2(b *testing.B) {
	n := types.NetworkInterface{
		NetworkInterfaceId: aws.String("eni-0123456789abcdef0"), MacAddress: aws.String("02:00:00:00:00:01"),
		SubnetId: aws.String("subnet-1"), VpcId: aws.String("vpc-1"), AvailabilityZone: aws.String("us-east-1a"),
		Status: types.NetworkInterfaceStatusInUse, Description: aws.String("d"), SourceDestCheck: aws.Bool(true),
		TagSet: owner.tags(map[string]string{"team": "net"}),
		Groups: []types.GroupIdentifier{{GroupId: aws.String("sg-2")}, {GroupId: aws.String("sg-1")}},
		PrivateIpAddresses: []types.NetworkInterfacePrivateIpAddress{
			{PrivateIpAddress: aws.String("10.0.1.11")}, {PrivateIpAddress: aws.String("10.0.1.10"), Primary: aws.Bool(true)},
		},
		Attachment: &types.NetworkInterfaceAttachment{
			AttachmentId: aws.String("eni-attach-1"), InstanceId: aws.String("i-0123456789abcdef0"), DeviceIndex: aws.Int32(1),
			Status: types.AttachmentStatusAttached, DeleteOnTermination: aws.Bool(true),
		},
	}
	b.ReportAllocs()
	for b.Loop() {
		if e := fromEC2(n); e.Owner != owner || len(e.Addresses) != 2 {
			b.Fatal(e)
		}
	}
}

// What one page of the coordinator's sweep costs, the SDK's part included.
func BenchmarkDescribe1000(b *testing.B) {
	var items strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&items, "<item><networkInterfaceId>eni-%d</networkInterfaceId><subnetId>subnet-1</subnetId><status>in-use</status><tagSet>", i)
		for _, tag := range owner.tags(nil) {
			fmt.Fprintf(&items, "<item><key>%s</key><value>%s</value></item>", *tag.Key, *tag.Value)
		}
		fmt.Fprintf(&items, "</tagSet><attachment><attachmentId>eni-attach-%d</attachmentId><instanceId>i-1</instanceId><status>attached</status></attachment></item>", i)
	}
	c := heedless{"DescribeNetworkInterfaces": "<networkInterfaceSet>" + items.String() + "</networkInterfaceSet>"}.client()
	b.ReportAllocs()
	for b.Loop() {
		if all, err := c.OfCluster(context.Background(), owner.Cluster); err != nil || len(all) != 1000 {
			b.Fatal(len(all), err)
		}
	}
}
