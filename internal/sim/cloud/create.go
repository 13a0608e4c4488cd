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
	InterfaceType  string            // interface, the default, efa, efa-only or trunk
	Tags           map[string]string // from the TagSpecification
	ClientToken    string            // "": not idempotent

	IPv4Prefixes    []netip.Prefix
	IPv4PrefixCount int
	// IPv6 with a Count of 0 overrides the subnet's AssignIPv6AddressOnCreation.
	IPv6               AddressRequest
	EnablePrimaryIPv6  bool
	ConnectionTracking ConnectionTracking

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
	setDefault(&in.InterfaceType, TypeInterface)
	groups, err := c.checkCreate(in, s)
	if err != nil {
		return nil, err
	}
	id := newID("eni")
	v4, v6, err := in.takeAddresses(id, s)
	if err != nil {
		return nil, err
	}
	made := &Interface{
		ID:                 id,
		MAC:                c.mac(),
		SubnetID:           s.ID,
		VPCID:              s.VPCID,
		Zone:               s.Zone,
		ZoneID:             s.ZoneID,
		Status:             StatusAvailable,
		Description:        in.Description,
		PrimaryIPv6:        in.EnablePrimaryIPv6,
		GroupIDs:           groups,
		SourceDestCheck:    true,
		Tags:               withTags(nil, in.Tags),
		InterfaceType:      in.InterfaceType,
		RequesterManaged:   in.RequesterManaged,
		ConnectionTracking: in.ConnectionTracking,
	}
	made.setAssigned(ipv4, v4)
	made.setAssigned(ipv6, v6)
	e := &eni{}
	e.history.put(time.Now(), c.memory(), made)
	c.enis[id] = e
	c.alive++
	return e, nil
}

// checkCreate checks all but the addresses, and returns the ENI's groups.
func (c *Cloud) checkCreate(in CreateNetworkInterfaceInput, s *subnet) ([]string, error) {
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
	if !slices.Contains([]string{TypeInterface, TypeEFA, TypeEFAOnly, TypeTrunk}, in.InterfaceType) {
		return nil, Errorf("InvalidParameterValue", "Value (%s) for parameter interfaceType is invalid. Invalid interface type.", in.InterfaceType)
	}
	if err := in.ConnectionTracking.check(); err != nil {
		return nil, err
	}
	if c.alive >= c.config.Quotas.Interfaces {
		return nil, Errorf("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
	}
	return groups, nil
}

// takeAddresses takes the new ENI's addresses of both families, or none at all.
func (in CreateNetworkInterfaceInput) takeAddresses(eniID string, s *subnet) (v4, v6 Assigned, err error) {
	requestV4, err := in.requestIPv4(s)
	if err != nil {
		return v4, v6, err
	}
	requestV6, err := in.requestIPv6(s)
	if err != nil {
		return v4, v6, err
	}
	if s.v4 != nil {
		if v4, err = s.v4.take(eniID, requestV4); err != nil {
			return v4, v6, err
		}
	}
	if s.v6 != nil {
		if v6, err = s.v6.take(eniID, requestV6); err != nil && s.v4 != nil {
			s.v4.release(v4)
		}
	}
	return v4, v6, err
}

// requestIPv4 is what the ENI needs of the subnet's IPv4 range: a primary address,
// and what is asked for beyond it.
func (in CreateNetworkInterfaceInput) requestIPv4(s *subnet) (AddressRequest, error) {
	r := AddressRequest{Count: positive(in.SecondaryCount), Prefixes: in.IPv4Prefixes, PrefixCount: positive(in.IPv4PrefixCount)}
	if len(in.PrivateIPs) > 1 {
		r.Addresses = in.PrivateIPs[1:]
	}
	if err := r.check(ipv4); err != nil {
		return r, err
	}
	asked := r.asks() || len(in.PrivateIPs) > 0
	switch {
	case s.v4 == nil && asked:
		return r, noRange(s.ID, ipv4)
	case in.InterfaceType == TypeEFAOnly && asked:
		return r, noAddresses()
	case s.v4 == nil || in.InterfaceType == TypeEFAOnly:
		return AddressRequest{}, nil
	case len(in.PrivateIPs) == 0:
		r.Count = positive(number(r.Count) + 1)
	}
	r.Addresses = in.PrivateIPs
	return r, nil
}

// requestIPv6 is what the ENI needs of the subnet's IPv6 range. In an IPv6-only
// subnet it needs something.
func (in CreateNetworkInterfaceInput) requestIPv6(s *subnet) (AddressRequest, error) {
	r := in.IPv6
	if err := r.check(ipv6); err != nil {
		return r, err
	}
	switch {
	case s.v6 == nil && (r.asks() || in.EnablePrimaryIPv6):
		return r, noRange(s.ID, ipv6)
	case in.InterfaceType == TypeEFAOnly && r.asks():
		return r, noAddresses()
	case s.v6 == nil || in.InterfaceType == TypeEFAOnly:
		return AddressRequest{}, nil
	case r.given() == 0 && (s.AssignIPv6AddressOnCreation || s.IPv6Native):
		r.Count = positive(1)
	case s.IPv6Native && !r.asks():
		return r, Errorf("InvalidParameterValue", "Value (0) for parameter ipv6AddressCount is invalid. The subnet '%s' is IPv6-only.", s.ID)
	}
	return r, nil
}

// noAddresses: "EFA-only network interfaces do not support IP addresses." EC2's code
// for that is not verified.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
func noAddresses() error {
	return Errorf("InvalidParameterCombination", "EFA-only network interfaces do not support IP addresses.")
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
