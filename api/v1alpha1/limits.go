package v1alpha1

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"
)

// The bounds of a report. The schema refuses what exceeds them; whoever reads
// reports cuts it off, because a report may have been stored before the schema
// had a bound, and what one agent writes must not become another node's trouble.
// Strings are counted in characters, as the schema does.
const (
	// MaxENIs is how many ENIs a NodeENIState reports.
	MaxENIs = 256
	// MaxAddresses is how many addresses of an ENI it reports.
	MaxAddresses = 64
	// MaxNameLength bounds names of objects.
	MaxNameLength = 253
	// MaxIDLength bounds ids: those of EC2, UIDs, zones, Regions and accounts.
	MaxIDLength = 64
	// MaxAddressLength bounds addresses, ranges and MACs.
	MaxAddressLength = 49
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

// Clip cuts a report down to its bounds and makes its texts printable.
func (s *NodeENIStateStatus) Clip() {
	clip(&s.InstanceID, MaxIDLength)
	clip(&s.Zone, MaxIDLength)
	s.ENIs = head(s.ENIs, MaxENIs)
	for i := range s.ENIs {
		s.ENIs[i].Clip()
	}
}

// Clip cuts the report of one ENI down to its bounds.
func (e *ENIState) Clip() {
	clip(&e.NodeENI, MaxNameLength)
	uid := string(e.NodeENIUID)
	clip(&uid, MaxIDLength)
	e.NodeENIUID = types.UID(uid)
	for _, id := range []*string{&e.SubnetID, &e.ENIID, &e.AttachmentID, &e.Replaces} {
		clip(id, MaxIDLength)
	}
	clip(&e.SubnetCIDR, MaxAddressLength)
	clip(&e.MAC, MaxAddressLength)
	if e.Addresses = head(e.Addresses, MaxAddresses); slices.ContainsFunc(e.Addresses, func(a string) bool { return len(a) > MaxAddressLength }) {
		e.Addresses = nil // no address is that long
	}
	clip(&e.InterfaceName, MaxInterfaceNameLength)
	phase := string(e.Phase)
	clip(&phase, MaxWordLength)
	e.Phase = Phase(phase)
	clip(&e.Reason, MaxWordLength)
	clip(&e.Message, MaxMessageLength)
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
