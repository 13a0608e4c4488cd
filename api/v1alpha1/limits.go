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

// The bounds of a report. The schema refuses what exceeds them; whoever reads
// reports cuts it off, because a report may have been stored before the schema
// had a bound, and what one agent writes must not become another node's trouble.
// Strings are counted in characters, as the schema does.
const (
	// MaxENIs is how many ENIs a NodeENIState reports. With all of them as long as
	// can be it is still smaller than what etcd takes.
	MaxENIs = 128
	// MaxAddresses is how many addresses of an ENI it reports, of both families.
	MaxAddresses = 64
	// MaxPrefixes is how many prefixes of an ENI it reports, of both families.
	MaxPrefixes = 32
	// MaxSubnetCIDRs is how many IPv6 ranges of a subnet it reports.
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

	// MaxAttachments is how many ENIs the status of a NodeENI shows.
	MaxAttachments = 100
	// MaxAttachmentMessageLength bounds their messages, in bytes: a hundred of
	// them stay well below what an API server stores.
	MaxAttachmentMessageLength = 300
)

// The forms that the schema demands.
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

// Clip cuts a report down to its bounds and makes its texts printable, so that one
// odd value, of EC2, of a tag or of the host, never keeps an agent from writing the
// rest. Where the schema demands a form, what has another one is left out.
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
		// Ids and decisions are the agent's memory; the rest is for people.
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

// Clip cuts the report of one ENI down to its bounds.
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
		e.LastTransitionTime = metav1.Unix(0, 0) // JSON has no form for the time that it may be in UTC
	}
}

func notAnAddress(text string) bool {
	return len(text) > MaxAddressLength || !reportedRange.MatchString(text)
}

// head is the beginning of a list, in memory of its own when it was cut.
func head[T any](list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	return slices.Clone(list[:most])
}

// clip shortens a text to so many characters, and puts a space where it holds
// what does not print: a terminal must not obey it.
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

// Printable is the text with a space in the place of each character that does
// not print, such as a control character or half a character.
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
