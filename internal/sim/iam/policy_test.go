package iam

import "testing"

func TestLike(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"a*c", "abbc", true},
		{"a*c", "abbd", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"networking.k8s.aws/*", "networking.k8s.aws/node", true},
	} {
		if got := like(test.pattern, test.text); got != test.want {
			t.Errorf("like(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}

func TestARNLike(t *testing.T) {
	const instance = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"
	for _, test := range []struct {
		pattern string
		want    bool
	}{
		{"*", true},
		{instance, true},
		{"arn:aws:ec2:*:*:instance/*", true},
		{"arn:*", false}, // a wildcard does not reach beyond its part
		{"arn:aws:ec2:us-east-1:123456789012:instance/i-2", false},
		{"arn:aws:ec2:us-east-1:123456789012:network-interface/*", false},
	} {
		if got := arnLike(test.pattern, instance); got != test.want {
			t.Errorf("arnLike(%q) = %v", test.pattern, got)
		}
	}
}

func TestAllows(t *testing.T) {
	policy := func(effect, condition string) string {
		return `{"Version": "2012-10-17", "Statement": [
			{"Sid": "A", "Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
			{"Sid": "B", "Effect": "` + effect + `", "Action": ["ec2:DeleteTags"], "Resource": ["arn:aws:ec2:*:*:subnet/*"], "Condition": {` + condition + `}}]}`
	}
	subnet := Request{
		Action: "ec2:DeleteTags", Keys: Keys{"aws:Who": {"me"}},
		Resources: []Resource{{"arn:aws:ec2:us-east-1:1:subnet/s-1", Keys{"aws:ResourceTag/Owner": {"me"}, "aws:TagKeys": {"a", "b"}}}},
	}
	for _, test := range []struct {
		name, condition string
		denied          bool // when it is a Deny
	}{
		{"none", ``, true},
		{"equal", `"StringEquals": {"aws:resourcetag/owner": ["you", "me"]}`, true},
		{"not equal", `"StringEquals": {"aws:ResourceTag/Owner": "you"}`, false},
		{"a key that is not there", `"StringEquals": {"aws:ResourceTag/Other": "me"}`, false},
		{"a variable", `"StringEquals": {"aws:ResourceTag/Owner": "${aws:who}"}`, true},
		{"a variable that is not there", `"StringLike": {"aws:ResourceTag/Owner": "${aws:whose}*"}`, false},
		{"all values", `"ForAllValues:StringLike": {"aws:TagKeys": ["a*", "b"]}`, true},
		{"not all values", `"ForAllValues:StringLike": {"aws:TagKeys": "a"}`, false},
		{"all of no values", `"ForAllValues:StringLike": {"aws:Nothing": "a"}`, true},
		{"two operators", `"StringEquals": {"aws:ResourceTag/Owner": "me"}, "StringLike": {"aws:ResourceTag/Owner": "y*"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse([]byte(policy("Deny", test.condition)))
			if err != nil {
				t.Fatal(err)
			}
			if got := !p.Allows(subnet); got != test.denied {
				t.Errorf("denied: %v, want %v", got, test.denied)
			}
		})
	}
	only, err := Parse([]byte(policy("Allow", "")))
	if err != nil {
		t.Fatal(err)
	}
	only.Statements = only.Statements[1:]
	if !only.Allows(subnet) {
		t.Error("what the only statement names is refused")
	}
	subnet.Resources = append(subnet.Resources, Resource{ARN: "arn:aws:ec2:us-east-1:1:vpc/v-1"})
	if refused := only.Refused(subnet); len(refused) != 1 || refused[0] != "arn:aws:ec2:us-east-1:1:vpc/v-1" {
		t.Errorf("refused %v, want the VPC: every resource must be allowed", refused)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":             `{`,
		"an old version":      `{"Version": "2008-10-17", "Statement": []}`,
		"an unknown element":  `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotAction": "a", "Resource": "*"}]}`,
		"an unknown operator": `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a", "Resource": "*", "Condition": {"Bool": {"a": "true"}}}]}`,
		"an unknown effect":   `{"Version": "2012-10-17", "Statement": [{"Effect": "allow", "Action": "a", "Resource": "*"}]}`,
		"no resource":         `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a"}]}`,
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
