package v1alpha1

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The limits of a report. The schema refuses reports that exceed them. Readers cut reports
// off, because a report may have been stored before the schema had a limit, and one agent's
// report must not affect other nodes. Like the schema, the limits count the characters of
// strings.
const (
	// MaxENIs is the number of ENIs in a NodeENIState. Even if all have the maximum size,
	// etcd accepts the object.
	MaxENIs = 128
	// MaxAddresses is the number of addresses of an ENI in a report, for both families.
	MaxAddresses = 64
	// MaxPrefixes is the number of prefixes of an ENI in a report, for both families.
	MaxPrefixes = 32
	// MaxSubnetCIDRs is the number of IPv6 ranges of a subnet in a report.
	MaxSubnetCIDRs = 4
	// MaxNameLength bounds names of objects.
	MaxNameLength = 253
	// MaxIDLength bounds ids: those of EC2, UIDs, zones, Regions and accounts.
	MaxIDLength = 64
	// MaxAddressLength bounds addresses, ranges and MACs. It is the length of an IPv6
	// range without zeros.
	MaxAddressLength = 43
	// MaxInterfaceNameLength is the kernel's.
	MaxInterfaceNameLength = 15
	// MaxWordLength bounds phases and reasons.
	MaxWordLength = 64
	// MaxMessageLength bounds messages of a report.
	MaxMessageLength = 1024

	// MaxAttachments is the number of ENIs in the status of a NodeENI.
	MaxAttachments = 100
	// MaxAttachmentMessageLength is the limit of their messages, in bytes, so that 100
	// of them stay well below the maximum size of an object.
	MaxAttachmentMessageLength = 300
)

// The patterns that the schema requires.
var (
	reportedName       = regexp.MustCompile(`^[-.0-9a-z]*$`)
	reportedID         = regexp.MustCompile(`^[-0-9A-Za-z]*$`)
	reportedSubnet     = regexp.MustCompile(`^(subnet-[0-9a-z]+)?$`)
	reportedENI        = regexp.MustCompile(`^(eni-[0-9a-z]+)?$`)
	reportedAttachment = regexp.MustCompile(`^(eni-attach-[0-9a-z]+)?$`)
	reportedRange      = regexp.MustCompile(`^[0-9A-Fa-f:./]*$`)
	reportedMAC        = regexp.MustCompile(`^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?$`)
	reportedReason     = regexp.MustCompile(`^[-0-9A-Za-z_.:/]*$`)
)

// Clip cuts a report down to its limits and makes its texts printable, so that one unusual
// value from EC2, a tag, or the host never prevents an agent from writing the rest. It
// removes values that do not match the pattern of the schema.
func (s *NodeENIStateStatus) Clip() {
	clip(&s.InstanceID, MaxIDLength)
	clip(&s.Zone, MaxIDLength)
	for _, id := range []*string{&s.Region, &s.Account} {
		if len(*id) > MaxIDLength || !reportedID.MatchString(*id) {
			*id = ""
		}
	}
	if len(s.Reason) > MaxWordLength || !reportedReason.MatchString(s.Reason) {
		s.Reason = ""
	}
	clip(&s.Message, MaxMessageLength)
	for i := range s.ENIs {
		s.ENIs[i].Clip()
	}
	if len(s.ENIs) > MaxENIs {
		// IDs and decisions are the agent's memory; the rest is for users.
		slices.SortStableFunc(s.ENIs, func(a, b ENIState) int { return memory(b) - memory(a) })
		s.ENIs = head(s.ENIs, MaxENIs)
	}
}

func memory(e ENIState) int {
	if e.ENIID != "" || e.CreatedAt != nil || e.Replaces != "" {
		return 1
	}
	return 0
}

// Clip cuts the report of one ENI down to its limits.
func (e *ENIState) Clip() {
	uid := string(e.NodeENIUID)
	for _, field := range []struct {
		value *string
		most  int
		form  *regexp.Regexp
	}{
		{&e.NodeENI, MaxNameLength, reportedName},
		{&uid, MaxIDLength, reportedID},
		{&e.SubnetID, MaxIDLength, reportedSubnet},
		{&e.SubnetCIDR, MaxAddressLength, reportedRange},
		{&e.ENIID, MaxIDLength, reportedENI},
		{&e.AttachmentID, MaxIDLength, reportedAttachment},
		{&e.MAC, MaxAddressLength, reportedMAC},
		{&e.Reason, MaxWordLength, reportedReason},
		{&e.Replaces, MaxIDLength, reportedENI},
	} {
		if len(*field.value) > field.most || !field.form.MatchString(*field.value) {
			*field.value = ""
		}
	}
	e.NodeENIUID = types.UID(uid)
	for _, list := range []struct {
		of   *[]string
		most int
	}{{&e.Addresses, MaxAddresses}, {&e.Prefixes, MaxPrefixes}, {&e.SubnetIPv6CIDRs, MaxSubnetCIDRs}} {
		if *list.of = head(*list.of, list.most); slices.ContainsFunc(*list.of, notAnAddress) {
			*list.of = nil
		}
	}
	clip(&e.InterfaceName, MaxInterfaceNameLength)
	phase := string(e.Phase)
	clip(&phase, MaxWordLength)
	e.Phase = Phase(phase)
	clip(&e.Message, MaxMessageLength)
	if year := e.LastTransitionTime.UTC().Year(); year < 1970 || year > 9998 {
		e.LastTransitionTime = metav1.Unix(0, 0) // JSON cannot represent the year that the time may have in UTC
	}
}

func notAnAddress(text string) bool {
	return len(text) > MaxAddressLength || !reportedRange.MatchString(text)
}

// head is the start of a list. If it is shorter than the list, it is a copy.
func head[T any](list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	return slices.Clone(list[:most])
}

// clip shortens a text to a number of characters, and replaces characters that do not
// print with spaces, because they could control a terminal.
func clip(text *string, most int) {
	if len(*text) > most && utf8.RuneCountInString(*text) > most {
		end := 0
		for range most {
			_, size := utf8.DecodeRuneInString((*text)[end:])
			end += size
		}
		*text = strings.Clone((*text)[:end]) // or the rest stays in memory
	}
	*text = Printable(*text)
}

// Printable replaces each character of a text that does not print, such as a control
// character or an invalid one, with a space.
func Printable(text string) string {
	bad := func(r rune) bool { return r == utf8.RuneError || r != ' ' && !unicode.IsGraphic(r) }
	if strings.IndexFunc(text, bad) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return ' '
		}
		return r
	}, text)
}
