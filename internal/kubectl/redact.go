package kubectl

import (
	"regexp"
	"strings"
)

const redacted = "REDACTED"

// secretName is in the name of what is secret: an environment variable, an annotation, or a
// setting in a text.
var secretName = regexp.MustCompile(`(?i)(secret|token|passw|credential|private|api_?key|access_?key|auth)`)

// secrets are texts that are secret wherever they are, with what is put in their place.
var secrets = []struct {
	form *regexp.Regexp
	to   string
}{
	{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)`), redacted},
	{regexp.MustCompile(`\b(AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b`), redacted},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`), redacted}, // a JSON web token
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}`), "${1} " + redacted},
	{regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^/\s:@"']*:[^\s@"']*@`), "${1}" + redacted + "@"},
	{regexp.MustCompile(`(?i)(X-Amz-(?:Security-Token|Signature|Credential)=)[^&\s"']+`), "${1}" + redacted},
	// name=value and name: value
	{regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:secret|token|passw|api_?key|access_?key)[a-z0-9_.-]*["']?[ \t]*[=:][ \t]*["']?)[^\s"',;)}]{6,}`), "${1}" + redacted},
}

// redactText takes secrets out of a text.
func redactText(text string) string {
	for _, s := range secrets {
		text = s.form.ReplaceAllString(text, s.to)
	}
	return text
}

// redactObject takes out of an object what is secret, what may be, and what is of no use: the
// fields that clients manage and their last-applied configuration, which hold all of it
// again, and the values of variables and annotations with a secret's name.
func redactObject(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = redactObject(v[i])
		}
	case map[string]any:
		delete(v, "managedFields")
		if name, ok := v["name"].(string); ok && v["value"] != nil && secretName.MatchString(name) {
			v["value"] = redacted
		}
		for key, field := range v {
			if key == "annotations" {
				redactAnnotations(field)
			}
			if key == "userData" {
				v[key] = redacted // never, whatever it is
				continue
			}
			v[key] = redactObject(field)
		}
	}
	return value
}

func redactAnnotations(field any) {
	annotations, ok := field.(map[string]any)
	if !ok {
		return
	}
	for key := range annotations {
		if strings.HasSuffix(key, "/last-applied-configuration") || secretName.MatchString(key) {
			annotations[key] = redacted
		}
	}
}
