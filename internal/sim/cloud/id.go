package cloud

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// newID makes an id of today's long form, 17 hexadecimal digits.
func newID(prefix string) string {
	return fmt.Sprintf("%s-0%016x", prefix, rand.Uint64())
}

// newMAC makes a locally administered unicast address, as ENIs have.
func newMAC() string {
	n := rand.Uint64()
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32))
}

// idKind is a kind of resource id and how EC2 complains about a bad one.
type idKind struct {
	prefix    string
	noun      string // in "The <noun> 'x' does not exist"
	malformed string
	notFound  string
}

var (
	interfaceIDs  = idKind{"eni", "networkInterface ID", "InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound"}
	attachmentIDs = idKind{"eni-attach", "networkInterface attachment ID", "InvalidNetworkInterfaceAttachmentId.Malformed", "InvalidAttachmentID.NotFound"}
	instanceIDs   = idKind{"i", "instance ID", "InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound"}
	subnetIDs     = idKind{"subnet", "subnet ID", "InvalidSubnetID.Malformed", "InvalidSubnetID.NotFound"}
	groupIDs      = idKind{"sg", "security group", "InvalidGroupId.Malformed", "InvalidGroup.NotFound"}
	vpcIDs        = idKind{"vpc", "vpc ID", "InvalidVpcID.Malformed", "InvalidVpcID.NotFound"}
)

// check refuses an id that is not one of this kind.
func (k idKind) check(id string) error {
	hex, ok := strings.CutPrefix(id, k.prefix+"-")
	if ok && len(hex) >= 8 && len(hex) <= 17 && strings.Trim(hex, "0123456789abcdef") == "" {
		return nil
	}
	if k.prefix == "i" {
		return Errorf(k.malformed, "Invalid id: %q", id)
	}
	return Errorf(k.malformed, "Invalid id: %q (expecting \"%s-...\")", id, k.prefix)
}

// missing says that resources with these ids do not exist.
func (k idKind) missing(ids ...string) error {
	if len(ids) == 1 {
		return Errorf(k.notFound, "The %s '%s' does not exist", k.noun, ids[0])
	}
	return Errorf(k.notFound, "The %ss '%s' do not exist", k.noun, strings.Join(ids, ", "))
}
