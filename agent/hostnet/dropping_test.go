package hostnet

import (
	"slices"
	"testing"

	"github.com/google/nftables"
)

// TestDropping: only base chains for what is forwarded count, with the policy to drop.
func TestDropping(t *testing.T) {
	ns := newNamespace(t)
	err := ns.Do(func() error {
		if names := Dropping(); len(names) != 0 {
			t.Errorf("without a chain: %q", names)
		}
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		drop, accept := nftables.ChainPolicyDrop, nftables.ChainPolicyAccept
		for table, family := range map[string]nftables.TableFamily{"filter": nftables.TableFamilyIPv4, "fw": nftables.TableFamilyINet, "six": nftables.TableFamilyIPv6} {
			added := conn.AddTable(&nftables.Table{Name: table, Family: family})
			for chain, c := range map[string]nftables.Chain{
				"FORWARD": {Hooknum: nftables.ChainHookForward, Policy: &drop},
				"OTHER":   {Hooknum: nftables.ChainHookForward, Policy: &accept},
				"INPUT":   {Hooknum: nftables.ChainHookInput, Policy: &drop},
			} {
				c.Name, c.Table, c.Type, c.Priority = chain, added, nftables.ChainTypeFilter, nftables.ChainPriorityFilter
				conn.AddChain(&c)
			}
			conn.AddChain(&nftables.Chain{Name: "DOCKER", Table: added})
		}
		if err := conn.Flush(); err != nil {
			return err
		}
		if names, want := Dropping(), []string{"filter FORWARD", "fw FORWARD"}; !slices.Equal(names, want) {
			t.Errorf("they are %q, want %q", names, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
