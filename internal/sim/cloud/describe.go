package cloud

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
)

// DescribeInput are the parameters that the Describe actions share.
type DescribeInput struct {
	IDs        []string // names, where the resources have no ids
	Filters    []Filter
	MaxResults *int // nil: all at once
	NextToken  string
}

// describer knows how resources of one kind are described.
type describer[T any] struct {
	action   string
	idsParam string // EC2's name for the parameter of ids in its messages
	maxPage  int
	check    func(id string) error
	missing  func(ids ...string) error
	id       func(T) string
	tags     func(T) map[string]string
	fields   map[string]field[T]
}

// describe answers with the resources that the input asks for, sorted by id,
// and the token for the next page if there is one.
func (d describer[T]) describe(in DescribeInput, get func(id string) (T, bool), all iter.Seq[T]) ([]T, string, error) {
	after, err := d.page(in)
	if err != nil {
		return nil, "", err
	}
	matches, err := compile(in.Filters, d.fields, d.tags)
	if err != nil {
		return nil, "", err
	}
	if len(in.IDs) > 0 {
		named, err := d.named(in.IDs, get)
		if err != nil {
			return nil, "", err
		}
		all = slices.Values(named)
	}
	var found []T
	for r := range all {
		if d.id(r) > after && matches(r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b T) int { return cmp.Compare(d.id(a), d.id(b)) })
	if in.MaxResults == nil || len(found) <= *in.MaxResults {
		return found, "", nil
	}
	found = found[:*in.MaxResults]
	return found, d.pageToken(in, d.id(found[len(found)-1])), nil
}

// named looks resources up; EC2 answers for all ids or for none.
func (d describer[T]) named(ids []string, get func(string) (T, bool)) ([]T, error) {
	var found []T
	var missing []string
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if err := d.check(id); err != nil {
			return nil, err
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if r, ok := get(id); ok {
			found = append(found, r)
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return nil, d.missing(missing...)
	}
	return found, nil
}

// page checks the parameters of pagination and returns the id after which the
// page begins.
func (d describer[T]) page(in DescribeInput) (after string, err error) {
	if in.MaxResults != nil {
		switch n := *in.MaxResults; {
		case len(in.IDs) > 0:
			return "", Errorf("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", d.idsParam)
		case n < 5:
			return "", Errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value greater than 5.", n)
		case n > d.maxPage:
			return "", Errorf("InvalidParameterValue", "Value ( %d ) for parameter maxResults is invalid. Expecting a value smaller than %d.", n, d.maxPage)
		}
	}
	if in.NextToken == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(in.NextToken)
	var mark pageMark
	if err != nil || json.Unmarshal(raw, &mark) != nil || mark.Query != d.fingerprint(in) {
		return "", Errorf("InvalidNextToken", "The specified NextToken is not valid.")
	}
	return mark.After, nil
}

// pageMark is what a NextToken says: resources are sorted by id, so that a page
// can begin after the last one even if that has gone meanwhile.
type pageMark struct {
	Query string `json:"query"`
	After string `json:"after"`
}

func (d describer[T]) pageToken(in DescribeInput, after string) string {
	raw, _ := json.Marshal(pageMark{Query: d.fingerprint(in), After: after})
	return base64.RawURLEncoding.EncodeToString(raw)
}

// fingerprint ties a NextToken to the query that it came from.
func (d describer[T]) fingerprint(in DescribeInput) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(canonical([]any{d.action, in.IDs, in.Filters})))
	return strconv.FormatUint(hash.Sum64(), 36)
}
