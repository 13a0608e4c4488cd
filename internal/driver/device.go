package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// maxNodeENI is how many characters of a NodeENI's name are in the names of its devices.
const maxNodeENI = 40

// DeviceName is the name of the device of a place: the number of the place, from 0, among
// those of a NodeENI and a subnet on a node. The name depends on nothing else, so that it
// stays when other NodeENIs and subnets come and go.
func DeviceName(nodeENI, nodeENIUID, subnetID string, place int32) string {
	hash := sha256.Sum256([]byte(nodeENIUID + "/" + subnetID))
	name := strings.ReplaceAll(nodeENI, ".", "-")
	name = strings.TrimRight(name[:min(len(name), maxNodeENI)], "-")
	return name + "-" + hex.EncodeToString(hash[:4]) + "-" + strconv.Itoa(int(place))
}

// CounterSet is the name of the counters of a network card.
func CounterSet(card int32) string { return "card-" + strconv.Itoa(int(card)) }
