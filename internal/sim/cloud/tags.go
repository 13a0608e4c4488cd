package cloud

import (
	"maps"
	"strings"
	"unicode/utf8"
)

// The limits of tags, from "Tag restrictions" in the EC2 user guide.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// checkTags says whether tags may be added to those that a resource has.
func checkTags(have, add map[string]string) error {
	for key, value := range add {
		switch {
		case key == "":
			return Errorf("InvalidParameterValue", "Tag key can't be empty.")
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return Errorf("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		case utf8.RuneCountInString(key) > maxTagKey:
			return Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxTagKey)
		case utf8.RuneCountInString(value) > maxTagValue:
			return Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxTagValue)
		}
	}
	if len(withTags(have, add)) > maxTags {
		return Errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

// withTags returns the union; of two values for a key, the added one wins.
func withTags(have, add map[string]string) map[string]string {
	tags := make(map[string]string, len(have)+len(add))
	maps.Copy(tags, have)
	maps.Copy(tags, add)
	return tags
}

// TagDeletion names a tag to delete; with a value, only if it has that value.
type TagDeletion struct {
	Key   string
	Value *string
}

func withoutTags(have map[string]string, deletions []TagDeletion) map[string]string {
	if len(deletions) == 0 {
		return nil
	}
	tags := maps.Clone(have)
	for _, d := range deletions {
		if value, ok := tags[d.Key]; ok && (d.Value == nil || *d.Value == value) {
			delete(tags, d.Key)
		}
	}
	return tags
}

// CreateTags adds or overwrites tags of resources, of all or of none.
func (c *Cloud) CreateTags(resources []string, tags map[string]string) error {
	if len(tags) == 0 {
		return Errorf("MissingParameter", "The request must contain the parameter tagSet")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retag(resources, func(have map[string]string) (map[string]string, error) {
		return withTags(have, tags), checkTags(have, tags)
	})
}

// DeleteTags removes tags of resources; without deletions, all of them.
func (c *Cloud) DeleteTags(resources []string, deletions []TagDeletion) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retag(resources, func(have map[string]string) (map[string]string, error) {
		return withoutTags(have, deletions), nil
	})
}

// tagged is a resource with its tags.
type tagged struct {
	tags map[string]string
	set  func(map[string]string)
}

func (c *Cloud) retag(resources []string, change func(map[string]string) (map[string]string, error)) error {
	found := make([]tagged, len(resources))
	for i, id := range resources {
		var err error
		if found[i], err = c.tagged(id); err != nil {
			return err
		}
		if _, err := change(found[i].tags); err != nil {
			return err
		}
	}
	for _, r := range found {
		tags, _ := change(r.tags)
		r.set(tags)
	}
	return nil
}

func (c *Cloud) tagged(id string) (tagged, error) {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix {
	case "eni":
		e, err := c.eni(id)
		if err != nil {
			return tagged{}, err
		}
		return tagged{e.history.latest().Tags, func(tags map[string]string) {
			c.update(e, func(i *Interface) { i.Tags = tags })
		}}, nil
	case "i":
		host, err := c.instance(id)
		if err != nil {
			return tagged{}, err
		}
		return tagged{host.history.latest().Tags, func(tags map[string]string) {
			c.updateInstance(host, func(i *Instance) { i.Tags = tags })
		}}, nil
	case "subnet":
		if s, ok := c.subnets[id]; ok {
			return tagged{s.Tags, func(tags map[string]string) { s.Tags = tags }}, nil
		}
		return tagged{}, subnetIDs.missing(id)
	case "sg":
		if g, ok := c.groups[id]; ok {
			return tagged{g.Tags, func(tags map[string]string) { g.Tags = tags }}, nil
		}
		return tagged{}, groupIDs.missing(id)
	case "vpc":
		if v, ok := c.vpcs[id]; ok {
			return tagged{v.Tags, func(tags map[string]string) { v.Tags = tags }}, nil
		}
		return tagged{}, vpcIDs.missing(id)
	}
	return tagged{}, Errorf("InvalidID", "The ID '%s' is not valid", id)
}
