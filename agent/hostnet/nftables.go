package hostnet

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// tables reads and writes nftables tables of ours. Each rule in them has a note that says
// what it is for, and by which it is known again.
type tables struct {
	nft     *nftables.Conn
	reading *conn
}

// noted is a rule with its note.
type noted struct {
	note  string
	exprs []expr.Any
}

func openTables() (*tables, error) {
	nft, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	reading, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errors.Join(err, nft.CloseLasting())
	}
	return &tables{nft: nft, reading: reading}, nil
}

func (t *tables) close() {
	_ = t.nft.CloseLasting()
	t.reading.close()
}

// notes are those on the rules of the table, in their order, by chain. The nftables
// package cannot read rules that look at one direction of a connection.
func (t *tables) notes(family nftables.TableFamily, table string) (map[string][]string, error) {
	notes := make(map[string][]string)
	header := &nl.Nfgenmsg{NfgenFamily: uint8(family), Version: nl.NFNETLINK_V0}
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table))}
	err := t.reading.ask(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, header, attrs, func(msg []byte) error {
		chain, note, mine := "", "", false
		a := attributes(msg, nl.SizeofNfgenmsg)
		for a.next() {
			switch a.typ {
			case unix.NFTA_RULE_TABLE:
				mine = text(a.value) == table
			case unix.NFTA_RULE_CHAIN:
				chain = text(a.value)
			case unix.NFTA_RULE_USERDATA:
				note = string(a.value)
			}
		}
		if mine {
			notes[chain] = append(notes[chain], note)
		}
		return a.err
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return notes, err
}

// replace changes a table, in the transaction that flush ends, to one with these rules in
// each of these chains. Without rules it deletes the table.
func (t *tables) replace(table nftables.Table, chains []nftables.Chain, rules []noted) {
	t.nft.DelTable(t.nft.AddTable(&table)) // there is one now, whether or not there was
	if len(rules) == 0 {
		return
	}
	t.nft.AddTable(&table)
	for _, chain := range chains {
		chain.Table = &table
		t.nft.AddChain(&chain)
		for _, r := range rules {
			t.nft.AddRule(&nftables.Rule{Table: &table, Chain: &chain, Exprs: r.exprs, UserData: []byte(r.note)})
		}
	}
}

// flush carries out what is to be changed: no packet passes in between.
func (t *tables) flush() error { return t.nft.Flush() }
