package cloud

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"
)

// CreateNetworkInterfaceInput are the parameters of CreateNetworkInterface.
type CreateNetworkInterfaceInput struct {
	SubnetID       string
	Description    string
	GroupIDs       []string          // none: the VPC's default group
	PrivateIPs     []netip.Addr      // the first is the primary one; none: EC2 picks one
	SecondaryCount int               // more addresses for EC2 to pick
	InterfaceType  string            // interface, the default, or efa
	Tags           map[string]string // from the TagSpecification
	ClientToken    string            // "": not idempotent

	// RequesterManaged makes an ENI that belongs to an AWS service. It is not a
	// parameter of the API.
	RequesterManaged bool
}

const (
	maxDescription = 255
	maxClientToken = 64
)

// CreateNetworkInterface makes an ENI. Its answer says pending, as EC2's does;
// the ENI is available at once. With a ClientToken that was used before it
// gives the first answer again, even if the ENI has been deleted since.
func (c *Cloud) CreateNetworkInterface(in CreateNetworkInterfaceInput) (Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	params := in
	params.ClientToken = ""
	answer, replayed, err := c.replay("CreateNetworkInterface", in.ClientToken, params)
	if err != nil || replayed {
		created, _ := answer.(Interface)
		return created, err
	}
	e, err := c.newENI(in)
	if err != nil {
		return Interface{}, err
	}
	created := *e.history.latest()
	created.Status = StatusPending
	c.remember("CreateNetworkInterface", in.ClientToken, params, created)
	return created, nil
}

// newENI checks the parameters and makes the ENI.
func (c *Cloud) newENI(in CreateNetworkInterfaceInput) (*eni, error) {
	if err := subnetIDs.check(in.SubnetID); err != nil {
		return nil, err
	}
	s, ok := c.subnets[in.SubnetID]
	if !ok {
		return nil, subnetIDs.missing(in.SubnetID)
	}
	if len(in.GroupIDs) == 0 {
		in.GroupIDs = []string{c.defaultGroup(s.VPCID)}
	}
	groups, err := c.checkGroups(in.GroupIDs, s)
	if err != nil {
		return nil, err
	}
	if err := checkDescription(in.Description); err != nil {
		return nil, err
	}
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	setDefault(&in.InterfaceType, "interface")
	if in.InterfaceType != "interface" && in.InterfaceType != "efa" {
		return nil, Errorf("InvalidParameterValue", "Value (%s) for parameter interfaceType is invalid. Invalid interface type.", in.InterfaceType)
	}
	if in.SecondaryCount < 0 {
		return nil, Errorf("InvalidParameterValue", "Value (%d) for parameter secondaryPrivateIpAddressCount is invalid.", in.SecondaryCount)
	}
	if c.alive >= c.config.Quotas.Interfaces {
		return nil, Errorf("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
	}
	id := newID("eni")
	picked := in.SecondaryCount
	if len(in.PrivateIPs) == 0 {
		picked++
	}
	addresses, err := s.take(id, in.PrivateIPs, picked)
	if err != nil {
		return nil, err
	}
	e := &eni{}
	e.history.put(time.Now(), c.memory(), &Interface{
		ID:               id,
		MAC:              c.mac(),
		SubnetID:         s.ID,
		VPCID:            s.VPCID,
		Zone:             s.Zone,
		ZoneID:           s.ZoneID,
		Status:           StatusAvailable,
		Description:      in.Description,
		PrivateIPs:       addresses,
		GroupIDs:         groups,
		SourceDestCheck:  true,
		Tags:             withTags(nil, in.Tags),
		InterfaceType:    in.InterfaceType,
		RequesterManaged: in.RequesterManaged,
	})
	c.enis[id] = e
	c.alive++
	return e, nil
}

// mac makes a MAC that no ENI has or had.
func (c *Cloud) mac() string {
	mac := newMAC()
	for c.macs[mac] {
		mac = newMAC()
	}
	c.macs[mac] = true
	return mac
}

func (c *Cloud) defaultGroup(vpcID string) string {
	for _, g := range c.groups {
		if g.VPCID == vpcID && g.Name == "default" {
			return g.ID
		}
	}
	return "" // not reached: New makes one for each VPC
}

// checkGroups returns the groups of an ENI in that subnet, each once.
func (c *Cloud) checkGroups(ids []string, s *subnet) ([]string, error) {
	var groups []string
	for _, id := range ids {
		if err := groupIDs.check(id); err != nil {
			return nil, err
		}
		g, ok := c.groups[id]
		switch {
		case !ok:
			return nil, groupIDs.missing(id)
		case g.VPCID != s.VPCID:
			return nil, Errorf("InvalidParameter", "Security group %s and subnet %s belong to different networks.", id, s.ID)
		case !slices.Contains(groups, id):
			groups = append(groups, id)
		}
	}
	if len(groups) > c.config.Quotas.GroupsPerInterface {
		return nil, Errorf("SecurityGroupsPerInterfaceLimitExceeded",
			"The maximum number of security groups per interface has been reached.")
	}
	return groups, nil
}

func checkDescription(text string) error {
	if utf8.RuneCountInString(text) > maxDescription {
		return Errorf("InvalidParameterValue",
			"Value (%s) for parameter description is invalid. Description exceeds maximum length of %d.", text, maxDescription)
	}
	return nil
}

// token is what the first call with a ClientToken asked for and got.
type token struct {
	params string
	answer any
}

// replay returns the recorded answer of a call with the same token. AWS does
// not document how long a token is remembered; here it is for ever.
func (c *Cloud) replay(action, clientToken string, params any) (answer any, found bool, err error) {
	if clientToken == "" {
		return nil, false, nil
	}
	if len(clientToken) > maxClientToken {
		return nil, false, Errorf("InvalidParameterValue",
			"Value (%s) for parameter clientToken is invalid. The maximum length is %d characters.", clientToken, maxClientToken)
	}
	for _, char := range clientToken {
		if char < ' ' || char > '~' {
			return nil, false, Errorf("InvalidParameterValue", "Value (%q) for parameter clientToken is invalid. It must be ASCII.", clientToken)
		}
	}
	first, found := c.tokens[action+" "+clientToken]
	if found && first.params != canonical(params) {
		return nil, false, Errorf("IdempotentParameterMismatch",
			"Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
	}
	return first.answer, found, nil
}

func (c *Cloud) remember(action, clientToken string, params, answer any) {
	if clientToken != "" {
		c.tokens[action+" "+clientToken] = token{params: canonical(params), answer: answer}
	}
}

// canonical writes parameters so that equal ones give equal text: json sorts
// the tags, and plain data always marshals.
func canonical(params any) string {
	text, _ := json.Marshal(params)
	return string(text)
}
