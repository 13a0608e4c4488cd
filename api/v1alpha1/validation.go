package v1alpha1

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// These rules are the same as those that the markers in nodeeni.go and attributes.go add to
// the schema. The table in testdata/specs.yaml tests that both give the same results and
// messages.

// DefaultDeviceIndex is the device index of a NodeENI that does not set one.
const DefaultDeviceIndex = 1

// Limits of the schema. Those of groups, descriptions, and tags are EC2's.
const (
	maxSelectorLabels = 10
	maxSubnets        = 64
	maxGroups         = 16
	maxSubnetName     = 256
	maxGroupName      = 255
	maxDescription    = 255
	maxTags           = 40
	maxTagKey         = 128
	maxTagValue       = 256
	minMTU            = 576
	maxMTU            = 9216
)

// MaxDeviceIndex is the highest device index that an ENI may have.
const MaxDeviceIndex = 31

const (
	subnetIDMessage      = "must be a subnet ID: 'subnet-' and 8 to 17 lowercase hexadecimal digits"
	groupIDMessage       = "must be a security group ID: 'sg-' and 8 to 17 lowercase hexadecimal digits"
	interfaceNameMessage = "must be a valid link name: at most 15 letters, digits, '-', '_', and '.', starting with a letter, a digit, or '_'"
)

var (
	subnetIDPattern       = regexp.MustCompile(`^subnet-[0-9a-f]{8,17}$`)
	groupIDPattern        = regexp.MustCompile(`^sg-[0-9a-f]{8,17}$`)
	interfaceNamePattern  = regexp.MustCompile(`^[A-Za-z0-9_][-A-Za-z0-9_.]{0,14}$`)
	controlPattern        = regexp.MustCompile(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]`)
	unusableInterfaces    = []string{"eth0", "lo", "all", "default"} // the last two: net/ipv4/devinet.c, sysctl_dev_name_is_allowed
	reservedTagKeys       = []string{"networking.k8s.aws/", "node.k8s.amazonaws.com/"}
	supportedAddressings  = []Addressing{AddressingNone, AddressingHost}
	supportedAttaches     = []Attach{AttachAlways, AttachOnDemand}
	controlPatternMessage = "must not contain control characters"
)

// Default sets the same defaults as the schema. A false stays false.
func Default(nodeENI *NodeENI) {
	spec := &nodeENI.Spec
	if spec.DeviceIndex == 0 {
		spec.DeviceIndex = DefaultDeviceIndex
	}
	if spec.Addressing == "" {
		spec.Addressing = AddressingNone
	}
	if spec.Attach == "" {
		spec.Attach = AttachAlways
	}
	for _, flag := range []**bool{&spec.DeleteOnTermination, &spec.SourceDestCheck} {
		if *flag == nil {
			*flag = new(true)
		}
	}
}

// ValidateNodeENI returns all errors of a NodeENI to which Default has been applied.
func ValidateNodeENI(nodeENI *NodeENI) field.ErrorList {
	var errs field.ErrorList
	name := field.NewPath("metadata", "name")
	if nodeENI.Name == "" {
		errs = append(errs, field.Required(name, "every NodeENI must have a name"))
	} else {
		for _, message := range apivalidation.NameIsDNSSubdomain(nodeENI.Name, false) {
			errs = invalid(errs, name, nodeENI.Name, message)
		}
	}

	spec, path := &nodeENI.Spec, field.NewPath("spec")
	errs = append(errs, validateNodeSelector(spec.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validateSubnets(spec, path)...)
	errs = append(errs, validateGroups(spec, path)...)
	errs = append(errs, validateInterface(spec, path)...)
	errs = append(errs, validateAttributes(spec, path)...)
	errs = append(errs, validateAttach(spec, path)...)
	errs = append(errs, validateDescription(spec.Description, path.Child("description"))...)
	errs = append(errs, validateTags(spec.Tags, path.Child("tags"))...)
	return errs
}

func validateNodeSelector(selector map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if selector == nil {
		return append(errs, field.Required(path, "must have at least one label, so that only the nodes that you choose get ENIs"))
	}
	if len(selector) == 0 {
		errs = invalid(errs, path, selector, "must have at least one label, so that only the nodes that you choose get ENIs")
	}
	if len(selector) > maxSelectorLabels {
		errs = append(errs, field.TooMany(path, len(selector), maxSelectorLabels))
	}
	for _, key := range sets.List(sets.KeySet(selector)) {
		if len(validation.IsQualifiedName(key)) > 0 {
			errs = invalid(errs, path, key, "every key must be a valid Kubernetes label key: an optional DNS name and '/', then at most 63 letters, digits, '-', '_', and '.', starting and ending with a letter or digit")
		}
		if strings.HasPrefix(key, ReadyLabelPrefix) {
			errs = invalid(errs, path, key, "keys that start with 'nodeeni.networking.k8s.aws/' cannot select nodes, because agents set these labels after a node has its ENIs")
		}
		if value := selector[key]; len(validation.IsValidLabelValue(value)) > 0 {
			errs = invalid(errs, path.Key(key), value, "every value must be a valid Kubernetes label value: at most 63 letters, digits, '-', '_', and '.', starting and ending with a letter or digit")
		}
	}
	return errs
}

func validateSubnets(spec *NodeENISpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.SubnetID == "" && spec.SubnetName == "" && len(spec.SubnetIDs) == 0 && len(spec.SubnetNames) == 0 {
		errs = append(errs, field.Required(path, "at least one subnet is required: set subnetID, subnetIDs, subnetName, or subnetNames"))
	}
	if spec.SubnetID != "" && !subnetIDPattern.MatchString(spec.SubnetID) {
		errs = invalid(errs, path.Child("subnetID"), spec.SubnetID, subnetIDMessage)
	}
	errs = append(errs, validateLength(spec.SubnetName, maxSubnetName, path.Child("subnetName"))...)
	errs = append(errs, validateList(spec.SubnetIDs, maxSubnets, path.Child("subnetIDs"), idRule(subnetIDPattern, subnetIDMessage))...)
	errs = append(errs, validateList(spec.SubnetNames, maxSubnets, path.Child("subnetNames"),
		nameRule(maxSubnetName, "must not be empty; set the value of a subnet's Name tag"))...)
	return errs
}

func validateGroups(spec *NodeENISpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(spec.SecurityGroupIDs) == 0 && len(spec.SecurityGroupNames) == 0 {
		errs = append(errs, field.Required(path, "at least one security group is required: set securityGroupIDs or securityGroupNames"))
	}
	errs = append(errs, validateList(spec.SecurityGroupIDs, maxGroups, path.Child("securityGroupIDs"), idRule(groupIDPattern, groupIDMessage))...)
	errs = append(errs, validateList(spec.SecurityGroupNames, maxGroups, path.Child("securityGroupNames"),
		nameRule(maxGroupName, "must not be empty; set the name of a security group"))...)
	return errs
}

// CheckMTU returns an error if an MTU is not valid.
func CheckMTU(mtu int32) error {
	if mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		return errors.New("must be 0, which leaves the MTU unchanged, or from 576 to 9216 bytes; EC2's jumbo frames are 9001 bytes")
	}
	return nil
}

func validateInterface(spec *NodeENISpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.DeviceIndex < 1 || spec.DeviceIndex > MaxDeviceIndex {
		errs = invalid(errs, path.Child("deviceIndex"), spec.DeviceIndex,
			"must be from 1 to 31; the primary ENI has index 0")
	}
	if err := CheckMTU(spec.MTU); err != nil {
		errs = invalid(errs, path.Child("mtu"), spec.MTU, err.Error())
	}
	if !slices.Contains(supportedAddressings, spec.Addressing) {
		errs = append(errs, field.NotSupported(path.Child("addressing"), spec.Addressing, supportedAddressings))
	}
	name := path.Child("interfaceName")
	switch {
	case spec.InterfaceName == "":
	case !interfaceNamePattern.MatchString(spec.InterfaceName):
		errs = invalid(errs, name, spec.InterfaceName, interfaceNameMessage)
	case slices.Contains(unusableInterfaces, spec.InterfaceName):
		errs = invalid(errs, name, spec.InterfaceName,
			"must not be eth0 or lo, which the node itself uses, or all or default, which the kernel refuses")
	}
	return errs
}

// validateAttach checks what does not go together with an ENI that a pod claims.
func validateAttach(spec *NodeENISpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !slices.Contains(supportedAttaches, spec.Attach) {
		errs = append(errs, field.NotSupported(path.Child("attach"), spec.Attach, supportedAttaches))
	}
	if spec.Attach != AttachOnDemand {
		return errs
	}
	if spec.Pods != nil {
		errs = invalid(errs, path.Child("pods"), "{}", "must not be set with attach: OnDemand, which gives the whole ENI to the pod that claims it")
	}
	if spec.Addressing == AddressingHost {
		errs = invalid(errs, path.Child("addressing"), spec.Addressing, "must be None with attach: OnDemand, because the pod that claims the ENI gets its addresses")
	}
	if spec.InterfaceName != "" {
		errs = invalid(errs, path.Child("interfaceName"), spec.InterfaceName, "must not be set with attach: OnDemand: set interfaceName in the parameters of the ResourceClaim")
	}
	return errs
}

func validateDescription(description string, path *field.Path) field.ErrorList {
	errs := validateLength(description, maxDescription, path)
	if controlPattern.MatchString(description) {
		errs = invalid(errs, path, description, controlPatternMessage)
	}
	return errs
}

func validateTags(tags map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(tags) > maxTags {
		errs = append(errs, field.TooMany(path, len(tags), maxTags))
	}
	for _, key := range sets.List(sets.KeySet(tags)) {
		if n := utf8.RuneCountInString(key); n < 1 || n > maxTagKey {
			errs = invalid(errs, path, key, "a tag key must have 1 to 128 characters")
		}
		if utf8.RuneCountInString(tags[key]) > maxTagValue {
			errs = invalid(errs, path.Key(key), tags[key], "a tag value must have at most 256 characters")
		}
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			errs = invalid(errs, path, key, "keys that start with 'aws:' are reserved for AWS")
		}
		for _, reserved := range reservedTagKeys {
			if strings.HasPrefix(key, reserved) {
				errs = invalid(errs, path, key,
					"keys that start with 'networking.k8s.aws/' or 'node.k8s.amazonaws.com/' are reserved for the agent, which marks its ENIs with them")
			}
		}
	}
	return errs
}

// itemRule says what is wrong with one item of a list.
type itemRule func(item string, path *field.Path) field.ErrorList

func idRule(pattern *regexp.Regexp, message string) itemRule {
	return func(id string, path *field.Path) field.ErrorList {
		if pattern.MatchString(id) {
			return nil
		}
		return field.ErrorList{field.Invalid(path, id, message)}
	}
}

func nameRule(maxLength int, message string) itemRule {
	return func(name string, path *field.Path) field.ErrorList {
		if name == "" {
			return field.ErrorList{field.Invalid(path, name, message)}
		}
		return validateLength(name, maxLength, path)
	}
}

func validateList(items []string, maxItems int, path *field.Path, rule itemRule) field.ErrorList {
	var errs field.ErrorList
	if len(items) > maxItems {
		errs = append(errs, field.TooMany(path, len(items), maxItems))
	}
	seen := sets.New[string]()
	for i, item := range items {
		if seen.Has(item) {
			errs = append(errs, field.Duplicate(path.Index(i), item))
		}
		seen.Insert(item)
		errs = append(errs, rule(item, path.Index(i))...)
	}
	return errs
}

// invalid is not inlined, so that the coordinator stays small.
//
//go:noinline
func invalid(errs field.ErrorList, path *field.Path, value any, message string) field.ErrorList {
	return append(errs, field.Invalid(path, value, message))
}

func validateLength(value string, maxLength int, path *field.Path) field.ErrorList {
	if utf8.RuneCountInString(value) <= maxLength {
		return nil
	}
	return field.ErrorList{field.TooLong(path, value, maxLength)}
}
