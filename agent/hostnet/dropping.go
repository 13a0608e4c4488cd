package hostnet

import "github.com/google/nftables"

// Dropping are the chains of nftables, as TABLE CHAIN, whose policy is to drop the IPv4
// packets that are forwarded and that no rule takes. Those of iptables-legacy are not
// seen.
func Dropping() []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	var names []string
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, _ := conn.ListChainsOfTableFamily(family) // a kernel without nf_tables has none
		for _, c := range chains {
			if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				names = append(names, c.Table.Name+" "+c.Name)
			}
		}
	}
	return names
}
