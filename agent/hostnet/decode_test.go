package hostnet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Attributes are read, and what cannot be one is refused.
func TestAttributes(t *testing.T) {
	for _, test := range []struct {
		name string
		msg  []byte
		want string
		err  error
	}{
		{"none", []byte{0}, "", nil},
		{"no header", nil, "", errShort},
		{"two, the first padded", []byte{0, 5, 0, 1, 0, 9, 0, 0, 0, 8, 0, 2, 0, 1, 2, 3, 4}, "1:09 2:01020304", nil},
		{"nested", []byte{0, 4, 0, 1, 0x80}, "1:", nil},
		{"the last one without its padding", []byte{0, 5, 0, 1, 0, 9}, "1:09", nil},
		{"longer than the message", []byte{0, 9, 0, 1, 0, 9, 9}, "", errShort},
		{"shorter than itself", []byte{0, 3, 0, 1, 0, 9, 9}, "", errShort},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen []string
			all := attributes(test.msg, 1)
			for all.next() {
				seen = append(seen, fmt.Sprintf("%d:%x", all.typ, all.value))
			}
			if got := strings.Join(seen, " "); got != test.want || !errors.Is(all.err, test.err) {
				t.Errorf("read %q and %v, want %q and %v", got, all.err, test.want, test.err)
			}
		})
	}
}
